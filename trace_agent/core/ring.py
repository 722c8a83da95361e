"""Hold what waits, bounded in bytes: items go in at one end, the oldest come out or make room.

All rings of a trace-agent share one `Budget`, so that packets and events together never exceed
`ring_mb`: whoever is full first does not matter to the memory of the machine.
"""

from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

from attrs import define

__all__ = ["Budget", "Ring"]

Item = TypeVar("Item")


@define
class Budget:
    """Bytes that may wait, and those that do.

    Attributes:
        limit_bytes: never exceeded, except by one item that is larger by itself.
        peak_bytes: the most that was ever used.
    """

    limit_bytes: int
    used_bytes: int = 0
    peak_bytes: int = 0

    def fits(self, size_bytes: int) -> bool:
        """Return whether that much may be added; an empty budget takes anything, lest it never fits."""
        return self.used_bytes + size_bytes <= self.limit_bytes or self.used_bytes == 0

    def take(self, size_bytes: int) -> None:
        """Count bytes in. The caller has asked `fits`, or knows why it need not."""
        self.used_bytes += size_bytes
        self.peak_bytes = max(self.peak_bytes, self.used_bytes)

    def give(self, size_bytes: int) -> None:
        """Count bytes out.

        Raises:
            ValueError: more than is counted in, which would be a bug of the caller.
        """
        if size_bytes > self.used_bytes:
            raise ValueError(f"giving back {size_bytes} of {self.used_bytes} bytes")
        self.used_bytes -= size_bytes


class Ring(Generic[Item]):
    """A queue of items with their sizes, drawing on a budget."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.used_bytes = 0
        self._items: deque[tuple[Item, int]] = deque()

    def __len__(self) -> int:
        """Return how many items wait."""
        return len(self._items)

    def push(self, item: Item, size_bytes: int) -> None:
        """Add the newest item, whether or not the budget has room: ask `Budget.fits` or `evict` before."""
        self._items.append((item, size_bytes))
        self.used_bytes += size_bytes
        self.budget.take(size_bytes)

    def pop(self) -> Item | None:
        """Remove and return the oldest item and give its bytes back."""
        if not self._items:
            return None
        item, size_bytes = self._items.popleft()
        self.used_bytes -= size_bytes
        self.budget.give(size_bytes)
        return item

    def evict(self, size_bytes: int) -> Iterator[Item]:
        """Yield oldest items, removed, until `size_bytes` more fit the budget or nothing is left."""
        while self._items and not self.budget.fits(size_bytes):
            item = self.pop()
            assert item is not None
            yield item

    def take(self, most: int) -> tuple[list[Item], int]:
        """Remove up to `most` oldest items, keeping their bytes counted: the caller gives them back.

        Returns:
            The items, oldest first, and their bytes, to be passed to `Budget.give` once they are safe.
        """
        items: list[Item] = []
        size_bytes = 0
        while self._items and len(items) < most:
            item, item_bytes = self._items.popleft()
            items.append(item)
            size_bytes += item_bytes
        self.used_bytes -= size_bytes
        return items, size_bytes

    def replace(self, index: int, item: Item, size_bytes: int) -> None:
        """Put a smaller form of an item in its place."""
        _, old_bytes = self._items[index]
        self._items[index] = (item, size_bytes)
        self.used_bytes += size_bytes - old_bytes
        self.budget.give(old_bytes)
        self.budget.take(size_bytes)

    def __iter__(self) -> Iterator[tuple[Item, int]]:
        """Yield items and sizes, oldest first."""
        return iter(self._items)
