"""One item ahead: the host prepares the next while the device computes with this one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

Item = TypeVar("Item")


class _End:
    """What comes after the last item."""


_END: Final = _End()


def ahead(items: Iterable[Item]) -> Iterator[Item]:
    """The same items in the same order, each made by a thread of its own while the one before is in use.

    At most two are held: the one in use and the next. An error comes where its item would have.
    """
    source = iter(items)

    def take() -> Item | _End:
        return next(source, _END)

    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="prefetch") as executor:
        upcoming = executor.submit(take)
        while not isinstance(item := upcoming.result(), _End):
            upcoming = executor.submit(take)
            yield item
