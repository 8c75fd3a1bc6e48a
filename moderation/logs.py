"""Structured logs on standard error: one JSON object a line, without the values of local variables.

A trace that shows locals would show images' bytes, prompts and keys.
"""

import logging
import sys

import structlog


def configure_logs(level: str) -> None:
    """Log from `level` (`debug`, `info`, `warning`, `error`) on. May be called again."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
