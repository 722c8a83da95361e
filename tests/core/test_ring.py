"""Rings hold what waits within one budget of bytes, and lose the oldest first.

Invariant: whatever is pushed, popped, taken, evicted and replaced in rings that share a budget, each ring
counts exactly what it holds, the budget what all of them hold and what was taken and not given back, and the
budget is never exceeded except by one item that is larger by itself.
"""

from typing import Final

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from trace_agent.core.ring import Budget, Ring

LIMIT_BYTES: Final = 100

_lanes: Final = st.integers(0, 1)
_sizes: Final = st.integers(0, 40) | st.integers(0, 150)


class Rings(RuleBasedStateMachine):
    """Two rings on one budget beside their model: a list of numbered items with sizes for each."""

    def __init__(self) -> None:
        super().__init__()
        self.budget = Budget(LIMIT_BYTES)
        self.rings = [Ring[int](self.budget), Ring[int](self.budget)]
        self.model: list[list[tuple[int, int]]] = [[], []]
        self.taken: list[int] = []
        self.made = 0
        self.peak_bytes = 0

    @property
    def outstanding(self) -> list[int]:
        """Return the sizes that the budget must count."""
        return [size for items in self.model for _, size in items] + self.taken

    @rule(lane=_lanes, size=_sizes)
    def push_dropping_oldest(self, lane: int, size: int) -> None:
        """Make room by dropping the oldest of one ring, then push if there is room."""
        dropped = list(self.rings[lane].evict(size))
        gone = self.model[lane][: len(dropped)]
        kept = self.model[lane] = self.model[lane][len(dropped) :]

        assert dropped == [item for item, _ in gone]
        if gone:  # the last of them had to go
            before = sum(self.outstanding) + gone[-1][1]
            assert before + size > LIMIT_BYTES
        fits = sum(self.outstanding) + size <= LIMIT_BYTES or sum(self.outstanding) == 0
        assert self.budget.fits(size) is fits
        assert fits or not kept
        if fits:
            self.made += 1
            self.rings[lane].push(self.made, size)
            self.model[lane].append((self.made, size))
            self.peak_bytes = max(self.peak_bytes, sum(self.outstanding))

    @rule(lane=_lanes)
    def pop(self, lane: int) -> None:
        """Pop the oldest."""
        expected = self.model[lane].pop(0)[0] if self.model[lane] else None

        assert self.rings[lane].pop() == expected

    @rule(lane=_lanes, most=st.integers(0, 5))
    def take(self, lane: int, most: int) -> None:
        """Take several oldest, whose bytes stay counted."""
        expected = self.model[lane][:most]
        del self.model[lane][:most]
        items, size_bytes = self.rings[lane].take(most)
        if items:
            self.taken.append(size_bytes)

        assert items == [item for item, _ in expected]
        assert size_bytes == sum(size for _, size in expected)

    @precondition(lambda self: self.taken)
    @rule()
    def give(self) -> None:
        """Give back what was taken longest ago."""
        self.budget.give(self.taken.pop(0))

    @precondition(lambda self: self.model[0])
    @rule(data=st.data())
    def replace(self, data: st.DataObject) -> None:
        """Put a smaller item in the place of another."""
        at = data.draw(st.integers(0, len(self.model[0]) - 1))
        item, size = self.model[0][at]
        smaller = data.draw(st.integers(0, size))
        self.model[0][at] = (-item, smaller)
        self.rings[0].replace(at, -item, smaller)

    @invariant()
    def agrees(self) -> None:
        """Rings hold what the model holds, and all bytes are counted."""
        for ring, items in zip(self.rings, self.model, strict=True):
            assert list(ring) == items
            assert len(ring) == len(items)
            assert ring.used_bytes == sum(size for _, size in items)
        assert self.budget.used_bytes == sum(self.outstanding)
        assert self.budget.peak_bytes == self.peak_bytes

    @invariant()
    def bounded(self) -> None:
        """Only one item that is larger by itself exceeds the limit, with nothing but empty ones beside it."""
        assert self.budget.used_bytes <= LIMIT_BYTES or len([size for size in self.outstanding if size]) == 1


TestRings = Rings.TestCase
TestRings.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)


def test_oldest_make_room() -> None:
    """Eviction drops from the oldest on, and no more than needed."""
    ring = Ring[str](Budget(10))
    for item in "abcd":
        ring.push(item, 2)

    assert list(ring.evict(5)) == ["a", "b"]
    assert list(ring.evict(6)) == []
    assert [item for item, _ in ring] == ["c", "d"]


def test_items_of_another_ring_stay() -> None:
    """A ring makes room with its own items alone, and keeps nothing when that is not enough."""
    budget = Budget(10)
    ours, theirs = Ring[str](budget), Ring[str](budget)
    theirs.push("theirs", 8)
    ours.push("ours", 2)

    assert list(ours.evict(5)) == ["ours"]
    assert not budget.fits(5)
    assert len(theirs) == 1


def test_item_larger_than_the_budget() -> None:
    """An item larger than the whole budget fits while nothing else waits, lest it never fit."""
    budget = Budget(10)
    ring = Ring[str](budget)
    ring.push("small", 1)
    with_another = budget.fits(11)
    dropped = list(ring.evict(11))
    alone = budget.fits(11)
    ring.push("large", 11)

    assert (with_another, dropped, alone) == (False, ["small"], True)
    assert not budget.fits(0)


def test_eviction_goes_on_as_it_is_asked() -> None:
    """Items are dropped one by one, as the caller counts them."""
    ring = Ring[str](Budget(4))
    for item in "ab":
        ring.push(item, 2)
    eviction = ring.evict(4)

    assert next(eviction) == "a"
    assert len(ring) == 1
    assert list(eviction) == ["b"]


def test_empty_ring() -> None:
    """An empty ring gives nothing, and says so."""
    ring = Ring[str](Budget(10))

    assert (ring.pop(), ring.take(5), list(ring), list(ring.evict(5)), len(ring)) == (
        None,
        ([], 0),
        [],
        [],
        0,
    )


def test_taken_bytes_stay_counted() -> None:
    """What was taken keeps its room in the budget until it is given back."""
    budget = Budget(10)
    ring = Ring[str](budget)
    ring.push("a", 6)
    items, size_bytes = ring.take(1)
    fits_before = budget.fits(5)
    budget.give(size_bytes)

    assert (items, ring.used_bytes, fits_before, budget.fits(5)) == (["a"], 0, False, True)
    assert budget.peak_bytes == 6


def test_giving_back_too_much() -> None:
    """Giving back more than was taken is a bug of the caller, and changes nothing."""
    budget = Budget(10)
    budget.take(3)
    with pytest.raises(ValueError, match="giving back 4 of 3 bytes"):
        budget.give(4)

    assert budget.used_bytes == 3
