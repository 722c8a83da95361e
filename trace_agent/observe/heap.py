"""Give memory back after bursts: nothing in, a smaller process out (glibc; elsewhere this does nothing).

What a burst frees stays with the allocator, spread over an arena for each thread, and counts against
the machine of the agent for good. So the arenas are few, and are trimmed when the process has grown.
"""

import ctypes
import resource
from pathlib import Path
from typing import Final

import trio

__all__ = ["bound_arenas", "keep_trimmed"]

_INTERVAL_S: Final = 10.0
# Trimming walks the heap, which takes about a millisecond per 50 MB: not for every few pages.
_GROWTH_BYTES: Final = 4 * 1024 * 1024
# From malloc.h; mallopt(3) explains it.
_M_ARENA_MAX: Final = -8
_ARENAS: Final = 2
_STATM: Final = Path("/proc/self/statm")


def bound_arenas() -> None:
    """Bound the arenas; to be called before there are threads."""
    if hasattr(ctypes.CDLL(None), "mallopt"):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _ARENAS)


async def keep_trimmed() -> None:
    """Trim the heap whenever the process has grown, until cancelled."""
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "malloc_trim") or not _STATM.exists():
        return
    trimmed_bytes = _resident_bytes()
    while True:
        await trio.sleep(_INTERVAL_S)
        resident_bytes = _resident_bytes()
        if resident_bytes > trimmed_bytes + _GROWTH_BYTES:
            libc.malloc_trim(0)
            resident_bytes = _resident_bytes()
        trimmed_bytes = resident_bytes


def _resident_bytes() -> int:
    # The second field counts resident pages (proc_pid_statm(5)).
    return int(_STATM.read_text().split()[1]) * resource.getpagesize()
