"""A value that is made anew only when what it rests on has changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Kept(Generic[T]):
    """Remembers one value."""

    def __init__(self) -> None:
        self._key: object = self
        self._value: T | None = None

    def at(self, key: object, make: Callable[[], T]) -> T:
        """The value that belongs to `key`; made where `key` is another than the last time."""
        if self._value is None or key != self._key:
            self._value, self._key = make(), key
        return self._value
