"""Trace-agent knows what it uses itself, and says so where a machine cannot tell."""

import gc
import os
from pathlib import Path
from typing import Any

import psutil
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trace_agent.observe import own
from trace_agent.observe.own import LoopLag, read_own


def test_read_own() -> None:
    """The figures are those of this process, now."""
    before = os.times()
    collections = gc.get_stats()[2]["collections"]
    gc.collect()
    figures = read_own()

    assert figures.rss_bytes > 5_000_000
    assert figures.private_bytes is None or figures.private_bytes > 1_000_000
    assert before.user + before.system <= figures.cpu_s <= os.times().user + os.times().system
    assert len(figures.gc_collections) == 3
    assert figures.gc_collections[2] > collections


def test_private_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Private memory is what would be free if the process ended: its private pages, clean, dirty and huge."""
    smaps = tmp_path / "smaps_rollup"
    smaps.write_text(
        "5600-7ffe ---p 00000000 00:00 0    [rollup]\n"
        "Rss:               40000 kB\nPss:               30000 kB\n"
        "Shared_Clean:       9000 kB\nPrivate_Clean:       100 kB\nPrivate_Dirty:       20 kB\n"
        "Private_Hugetlb:       3 kB\nSwap:                  7 kB\n"
    )
    monkeypatch.setattr(own, "_SMAPS", smaps)

    assert read_own().private_bytes == 123 * 1024


class OtherSystem(psutil.Process):
    """A process on a machine without `smaps_rollup`."""

    uss: int | None = 4096

    def memory_full_info(self) -> Any:  # noqa: ANN401 - one of its many figures is enough
        """Tell the size, or that nobody may know."""
        if self.uss is None:
            raise psutil.AccessDenied(self.pid)

        class Info:
            uss = self.uss

        return Info


def test_private_memory_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Linux does not tell, another way is taken; where nobody tells, it is unknown."""
    monkeypatch.setattr(own, "_SMAPS", tmp_path / "missing")
    process = OtherSystem()
    known = own._private_bytes(process)
    process.uss = None

    assert known == 4096
    assert own._private_bytes(process) is None


async def late_by(lag: LoopLag, clock: MockClock, late_s: list[float]) -> None:
    """Let a loop wake up late by so much, second after second."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lag.run)
        for each_s in late_s:
            await wait_all_tasks_blocked()
            clock.jump(1 + each_s)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()


async def test_lag(mock_clock: MockClock) -> None:
    """Lag is how much later than it asked the loop woke up."""
    lag = LoopLag()
    before = (lag.p99_ms, lag.max_ms)
    await late_by(lag, mock_clock, [0.0, 0.25, 0.0])

    assert before == (None, None)
    assert lag.max_ms == pytest.approx(250)


async def test_lag_percentile(mock_clock: MockClock) -> None:
    """One late awakening of two hundred is the worst, and beyond the 99th percentile."""
    lag = LoopLag()
    await late_by(lag, mock_clock, [0.001] * 198 + [0.5] + [0.002])

    assert lag.max_ms == pytest.approx(500)
    assert lag.p99_ms == pytest.approx(2)


async def test_lag_is_forgotten(mock_clock: MockClock) -> None:
    """After five minutes a bad moment is forgotten."""
    lag = LoopLag()
    await late_by(lag, mock_clock, [0.5] + [0.0] * 300)

    assert lag.max_ms == pytest.approx(0)
