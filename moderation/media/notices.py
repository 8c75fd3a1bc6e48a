"""Collects what Pillow warns of, so that it reaches the image's warnings and not the process's standard error."""

import ctypes
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MODULES = r"(PIL|pillow_heif)(\.|$)"


class _Collector:
    """Python keeps its warning filters for all threads at once, so they are changed when the first thread starts
    to collect and restored when the last has done; each thread gets its own warnings.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._own = threading.local()

    @contextmanager
    def collect(self) -> Iterator[list[str]]:
        """The texts of what Pillow warns of in this thread, appended as they come."""
        notes: list[str] = []
        self._enter()
        self._own.notes = notes
        try:
            yield notes
        finally:
            self._own.notes = None
            self._leave()

    def _enter(self) -> None:
        with self._lock:
            self._users += 1
            if self._users == 1:
                self._saved = warnings.catch_warnings()
                self._saved.__enter__()
                self._show = warnings.showwarning
                warnings.filterwarnings("always", module=MODULES)
                warnings.showwarning = self._take

    def _leave(self) -> None:
        with self._lock:
            self._users -= 1
            if not self._users:
                self._saved.__exit__(None, None, None)

    def _take(self, message: Warning | str, *where: Any, **rest: Any) -> None:
        notes = getattr(self._own, "notes", None)
        if notes is None:
            self._show(message, *where, **rest)
        else:
            notes.append(" ".join(str(message).split()))


def silence_libtiff() -> None:
    """Stop libtiff from writing what it finds wrong with a file to standard error, once a line of the picture.

    Pillow says the same in its exceptions, and leaves libtiff's own handler in place. The library is found where it is
    mapped into this process, on Linux; elsewhere, or where Pillow has it built in, it keeps its handler.
    """
    maps = Path("/proc/self/maps")
    if not maps.exists():
        return
    paths = {line.split(maxsplit=5)[-1] for line in maps.read_text().splitlines() if "/libtiff" in line}
    for path in paths:
        ctypes.CDLL(path).TIFFSetErrorHandler(None)


collect = _Collector().collect
