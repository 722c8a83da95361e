"""What a burst took goes back to the machine; where the allocator cannot do that, nothing happens."""

import ctypes

import pytest
import trio
from trio.testing import MockClock

from trace_agent.observe import heap


async def test_growth_is_trimmed(autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """The heap is trimmed after it has grown by some megabytes, and let be while it has not."""
    sizes = iter([50, 51, 60, 52, 53, 54])
    trims: list[int] = []

    class Libc:
        def malloc_trim(self, pad: int) -> int:
            trims.append(pad)
            return 1

    monkeypatch.setattr(ctypes, "CDLL", lambda _name: Libc())
    monkeypatch.setattr(heap, "_resident_bytes", lambda: next(sizes) * 1024 * 1024)
    with trio.move_on_after(45):
        await heap.keep_trimmed()

    assert trims == [0]


async def test_another_allocator(autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without glibc both functions return at once."""
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: object())
    with trio.fail_after(1):
        await heap.keep_trimmed()

    heap.bound_arenas()
