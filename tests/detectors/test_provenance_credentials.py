"""Content credentials that the test signs itself, with an authority of its own: what is trusted, and what was made by whom."""

import io
import json
import socket
import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import c2pa
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from detectors.errors import ModelError
from detectors.provenance import ProvenanceDetector
from detectors.provenance.credentials import OFFLINE, read_credentials
from detectors.provenance.detector import TRUST_LIST
from detectors.runtime import Runtime
from tests.factories import encode, make_image, picture

IPTC = "http://cv.iptc.org/newscodes/digitalsourcetype/"
PLAIN = encode(picture(64, 48), "JPEG")


class Authority:
    """A certificate authority and a signer that it vouches for."""

    def __init__(self) -> None:
        self.key, signer_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        self.root = self.certificate("Test Root", self.key, authority=True)
        signer = self.certificate("Test Signer", signer_key, authority=False)
        self.signer = c2pa.Signer.from_info(
            c2pa.C2paSignerInfo(
                alg=b"es256",
                sign_cert=pem(signer) + pem(self.root),
                private_key=signer_key.private_bytes(
                    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
                ),
                ta_url=None,
            )
        )

    def certificate(self, name: str, key: ec.EllipticCurvePrivateKey, *, authority: bool) -> x509.Certificate:
        def named(common_name: str) -> x509.Name:
            return x509.Name(
                [
                    x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Palisade Tests"),
                    x509.NameAttribute(NameOID.COMMON_NAME, common_name),
                ]
            )

        now = datetime.now(UTC)
        usage = dict.fromkeys(
            (
                "content_commitment",
                "key_encipherment",
                "data_encipherment",
                "key_agreement",
                "encipher_only",
                "decipher_only",
            ),
            False,
        )
        builder = (
            x509.CertificateBuilder()
            .subject_name(named(name))
            .issuer_name(named("Test Root"))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=30))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(
                x509.KeyUsage(digital_signature=True, key_cert_sign=authority, crl_sign=authority, **usage),
                critical=True,
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        )
        if not authority:
            builder = builder.add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False
            )
        return builder.sign(self.key, hashes.SHA256())


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def signed(
    authority: Authority, *actions: Mapping[str, Any], parts: Mapping[str, bytes] | None = None, remote: str = ""
) -> bytes:
    """A JPEG with a manifest of these actions; parts: the pictures that it was made from, by their relationship to it."""
    manifest = {
        "claim_generator_info": [{"name": "palisade-tests", "version": "1"}],
        "format": "image/jpeg",
        "title": "test",
        "assertions": [{"label": "c2pa.actions", "data": {"actions": actions}}],
    }
    builder, output = c2pa.Builder(manifest), io.BytesIO()
    for relationship, data in (parts or {}).items():
        part = {"title": "part", "relationship": relationship, "instance_id": relationship}
        builder.add_ingredient(json.dumps(part), "image/jpeg", io.BytesIO(data))
    if remote:
        builder.set_no_embed()
        builder.set_remote_url(remote)
    builder.sign(authority.signer, "image/jpeg", io.BytesIO(PLAIN), output)
    return output.getvalue()


OPENED = {"action": "c2pa.opened", "parameters": {"ingredientIds": ["parentOf"]}}
PLACED = {"action": "c2pa.placed", "parameters": {"ingredientIds": ["componentOf"]}}


def created(source_type: str) -> dict[str, str]:
    return {"action": "c2pa.created", "digitalSourceType": IPTC + source_type}


def detector_that_trusts(folder: Path, anchors: bytes) -> ProvenanceDetector:
    (folder / TRUST_LIST).write_bytes(anchors)
    return ProvenanceDetector(Runtime(folder))


def read(data: bytes) -> dict[str, Any]:
    found = read_credentials(data, "JPEG")
    assert found is not None
    return found


def test_a_signer_on_the_trust_list_is_trusted(authority: Authority, tmp_path: Path) -> None:
    image = make_image(picture(64, 48), data=signed(authority, created("digitalCapture")), format="JPEG")
    trusting = detector_that_trusts(tmp_path, pem(authority.root))
    found = {f.label: f.evidence for f in trusting.detect([image])[0]}["c2pa"]

    assert (found["state"], found["trusted"], found["problems"]) == ("valid", True, [])
    assert found["signer"] == "Palisade Tests"
    assert found["generator"].startswith("palisade-tests")
    assert found["actions"] == ["c2pa.created"]


def test_the_same_signer_is_untrusted_by_another_list_or_none(authority: Authority, tmp_path: Path) -> None:
    image = make_image(picture(64, 48), data=signed(authority, created("digitalCapture")), format="JPEG")
    other = detector_that_trusts(tmp_path, pem(Authority().root))

    for detector in (other, ProvenanceDetector(Runtime(tmp_path / "none"))):
        found = {f.label: f.evidence for f in detector.detect([image])[0]}["c2pa"]
        assert (found["state"], found["trusted"], found["problems"]) == ("valid", False, [])


def test_trust_does_not_make_a_changed_file_valid(authority: Authority, tmp_path: Path) -> None:
    data = bytearray(signed(authority, created("digitalCapture")))
    data[-20] ^= 1
    trusting = detector_that_trusts(tmp_path, pem(authority.root))
    found = read_credentials(bytes(data), "JPEG", trusting.anchors)

    assert found
    assert (found["state"], found["problems"]) == ("invalid", ["assertion.dataHash.mismatch"])


def test_measurements_are_of_a_trust_list(authority: Authority, tmp_path: Path) -> None:
    without = ProvenanceDetector(Runtime(tmp_path)).state("any")
    trusting = detector_that_trusts(tmp_path, pem(authority.root)).state("any")

    assert without == ""
    assert len(trusting) == 12


@pytest.mark.parametrize("content", [b"not a certificate", b"\xff\xfe"])
def test_a_trust_list_that_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ModelError, match=TRUST_LIST):
        detector_that_trusts(tmp_path, content)


@pytest.mark.parametrize(
    ("source_type", "made", "edited"),
    [
        ("trainedAlgorithmicMedia", True, False),
        ("algorithmicMedia", True, False),
        ("compositeWithTrainedAlgorithmicMedia", False, True),
        ("compositeSynthetic", False, True),
        ("digitalCapture", False, False),
        ("algorithmicallyEnhanced", False, False),
    ],
)
def test_source_types_tell_made_from_edited(authority: Authority, source_type: str, made: bool, edited: bool) -> None:
    found = read(signed(authority, created(source_type)))

    assert (found["source_type"], found["ai_generated"], found["ai_edited"]) == (source_type, made, edited)


def test_what_a_generated_picture_became_is_generated(authority: Authority) -> None:
    made = signed(authority, created("trainedAlgorithmicMedia"))
    found = read(signed(authority, OPENED, {"action": "c2pa.color_adjustments"}, parts={"parentOf": made}))

    assert (found["ai_generated"], found["ai_edited"]) == (True, False)
    assert (found["ingredients"], found["manifests"]) == (1, 2)


def test_a_photo_with_a_generated_picture_in_it_is_edited(authority: Authority) -> None:
    made = signed(authority, created("trainedAlgorithmicMedia"))
    photo = signed(authority, created("digitalCapture"))
    found = read(signed(authority, OPENED, PLACED, parts={"parentOf": photo, "componentOf": made}))

    assert (found["ai_generated"], found["ai_edited"]) == (False, True)


def test_a_manifest_store_that_cannot_be_reached_is_invalid(authority: Authority) -> None:
    data = signed(authority, created("digitalCapture"))
    found = read(data[: data.find(b"jumdc2pa") + 500])

    assert found["state"] == "invalid"
    assert found["problems"]


def test_a_broken_file_without_a_manifest_store_says_nothing() -> None:
    assert read_credentials(PLAIN[:300] + b"provenance", "JPEG") is None


def test_no_byte_of_a_manifest_can_be_changed_unnoticed_or_raise(authority: Authority) -> None:
    data = signed(authority, created("digitalCapture"))
    start = data.find(b"jumdc2pa")
    for at in range(start, start + 4000, 97):
        changed = data[:at] + bytes([data[at] ^ 0x5A]) + data[at + 1 :]
        found = read_credentials(changed, "JPEG")
        assert found is None or found["state"] in ("valid", "invalid")


def test_nothing_connects_to_where_a_file_points(authority: Authority) -> None:
    """The file names a server that listens; with fetching allowed it is called, which shows that the test can fail."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.3)
        data = signed(authority, created("digitalCapture"), remote=f"http://127.0.0.1:{server.getsockname()[1]}/m.c2pa")
        found = read(data)
        with pytest.raises(TimeoutError):
            server.accept()

        def answer() -> None:
            server.accept()[0].close()

        answering = threading.Thread(target=answer)
        server.settimeout(5)
        answering.start()
        settings = c2pa.Settings.from_dict({"verify": {"remote_manifest_fetch": True}})
        with pytest.raises(c2pa.C2paError):
            c2pa.Reader("image/jpeg", io.BytesIO(data), context=c2pa.Context(settings=settings))
        answering.join(timeout=5)

    assert found["state"] == "remote"
    assert found["remote_url"].startswith("http://127.0.0.1")
    assert not answering.is_alive()


def test_hosts_are_closed_even_where_fetching_is_open(authority: Authority) -> None:
    """The second lock, on its own: what would be fetched for reasons that have no switch is not fetched either."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.3)
        data = signed(authority, created("digitalCapture"), remote=f"http://127.0.0.1:{server.getsockname()[1]}/m.c2pa")
        settings = c2pa.Settings.from_dict(OFFLINE | {"verify": {"remote_manifest_fetch": True}})
        with pytest.raises(c2pa.C2paError):
            c2pa.Reader("image/jpeg", io.BytesIO(data), context=c2pa.Context(settings=settings))
        with pytest.raises(TimeoutError):
            server.accept()
