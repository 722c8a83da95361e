"""Watch trace-agent itself: nothing in, figures of its memory, time and event loop out."""

import gc
import os
from collections import deque
from pathlib import Path
from typing import Final

import psutil
import trio
from attrs import frozen

__all__ = ["LoopLag", "Own", "read_own"]

_INTERVAL_S: Final = 1.0
_SAMPLES: Final = 300
_SMAPS: Final = Path("/proc/self/smaps_rollup")
_KIB: Final = 1024


@frozen
class Own:
    """What this process uses right now.

    Attributes:
        rss_bytes: resident memory, shared libraries included.
        private_bytes: memory that would be free if the process ended; None where it cannot be told.
        cpu_s: user and system time since the start.
        gc_collections: by generation, youngest first.
    """

    rss_bytes: int
    private_bytes: int | None
    cpu_s: float
    gc_collections: tuple[int, ...]


class LoopLag:
    """Measures how late the event loop wakes up, over the last five minutes."""

    def __init__(self) -> None:
        self._late_s: deque[float] = deque(maxlen=_SAMPLES)

    async def run(self) -> None:
        """Measure until cancelled."""
        while True:
            due_s = trio.current_time() + _INTERVAL_S
            await trio.sleep_until(due_s)
            self._late_s.append(max(0.0, trio.current_time() - due_s))

    @property
    def p99_ms(self) -> float | None:
        """Return the 99th percentile, None before the first measurement."""
        if not self._late_s:
            return None
        late = sorted(self._late_s)
        return late[int(len(late) * 0.99)] * 1000

    @property
    def max_ms(self) -> float | None:
        """Return the worst, None before the first measurement."""
        return max(self._late_s) * 1000 if self._late_s else None


def read_own() -> Own:
    """Read the figures; about half a millisecond on Linux."""
    process = psutil.Process()
    times = os.times()
    return Own(
        rss_bytes=process.memory_info().rss,
        private_bytes=_private_bytes(process),
        cpu_s=times.user + times.system,
        gc_collections=tuple(generation["collections"] for generation in gc.get_stats()),
    )


def _private_bytes(process: psutil.Process) -> int | None:
    try:
        # Linux 4.14; psutil adds up every single mapping instead, which takes ten times as long.
        lines = _SMAPS.read_text().splitlines()
    except OSError:
        try:
            return int(process.memory_full_info().uss)
        except psutil.Error:
            return None
    return sum(int(line.split()[1]) * _KIB for line in lines if line.startswith("Private_"))
