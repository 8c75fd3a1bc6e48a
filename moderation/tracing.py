"""Traces over OpenTelemetry: request → scan → detectors → event → webhook. Off by default, and then nothing is imported.

Spans carry names, times, ids and statuses: no image, no prompt, no name of a person.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import moderation
from moderation.errors import SettingsError

Value = str | int | float | bool

_provider: Any = None
"""Of this process; None while nothing is traced."""


class Span:
    """A span under way, or nothing at all where nothing is traced."""

    def __init__(self, span: Any = None) -> None:
        self._span = span

    def note(self, name: str = "", /, **attributes: Value) -> None:
        """Say what is known by now: a better name, and `palisade.…` attributes."""
        if self._span is None:
            return
        if name:
            self._span.update_name(name)
        for key, value in attributes.items():
            self._span.set_attribute(f"palisade.{key}", value)


NOTHING = Span()


def start(endpoint: str) -> None:
    """Trace from now on, to a collector's address; '' traces nothing. Raises SettingsError without the extra `otel`."""
    if not endpoint or _provider is not None:
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError:
        raise SettingsError(
            "PALISADE_OTLP_ENDPOINT is set, and OpenTelemetry is not installed.",
            hint="Run `pip install 'palisade[otel]'`, or leave the setting empty.",
        ) from None
    start_with(BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")))


def start_with(processor: Any) -> None:
    """Trace from now on, into a span processor of OpenTelemetry's."""
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415

    global _provider  # noqa: PLW0603 - one for the process, as logging is
    resource = Resource.create({"service.name": "palisade", "service.version": moderation.__version__})
    _provider = TracerProvider(resource=resource)
    _provider.add_span_processor(processor)


def stop() -> None:
    """Send what waits, and trace nothing any more."""
    global _provider  # noqa: PLW0603 - see `start_with`
    if _provider is not None:
        _provider.shutdown()
        _provider = None


@contextmanager
def span(name: str, *, parent: str = "", **attributes: Value) -> Iterator[Span]:
    """A span while the block runs, below the one that runs already, or below a `traceparent` (W3C Trace Context).

    What the block raises marks it as failed. A parent that cannot be read is none.
    """
    if _provider is None:
        yield NOTHING
        return
    with _provider.get_tracer("palisade").start_as_current_span(name, context=_context(parent)) as current:
        under_way = Span(current)
        under_way.note(**attributes)
        yield under_way


def traceparent() -> str:
    """The span that runs, for another process to go on from; '' where there is none."""
    if _provider is None:
        return ""
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get("traceparent", "")


def _context(parent: str) -> Any:
    if not parent:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

    return TraceContextTextMapPropagator().extract({"traceparent": parent})
