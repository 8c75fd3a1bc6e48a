"""Streams in parts, so that memory does not grow with them."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """The items, `size` at once; the last part may be smaller."""
    rest = iter(items)
    while part := list(islice(rest, size)):
        yield part
