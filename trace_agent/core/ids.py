"""Make ids: the time and random bytes in, UUIDv7 text out (RFC 9562, section 5.7).

Python has `uuid.uuid7` from 3.14 on only; ids that begin with the time keep SQLite's index compact.
"""

from collections.abc import Callable
from typing import Final

__all__ = ["IdMaker"]

_RANDOM_BYTES: Final = 10
# The kernel is asked for many ids at once: a call costs more than what it brings.
_BLOCK_BYTES: Final = _RANDOM_BYTES * 256


class IdMaker:
    """Makes ids from a source of random bytes (`os.urandom`, or a fixed one in tests)."""

    def __init__(self, random_bytes: Callable[[int], bytes]) -> None:
        self._random_bytes = random_bytes
        self._block = b""
        self._used = 0

    def __call__(self, now_ms: float) -> str:
        """Return a new id whose first 48 bits are `now_ms` (Unix milliseconds)."""
        if self._used == len(self._block):
            self._block = self._random_bytes(_BLOCK_BYTES)
            self._used = 0
        chance = int.from_bytes(self._block[self._used : self._used + _RANDOM_BYTES], "big")
        self._used += _RANDOM_BYTES
        # 48 bits of time, version 7, 12 random bits, variant 0b10, 62 random bits.
        number = (int(now_ms) & 0xFFFF_FFFF_FFFF) << 80 | 0x7 << 76 | (chance >> 68) << 64
        number |= 0b10 << 62 | (chance & 0x3FFF_FFFF_FFFF_FFFF)
        text = f"{number:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
