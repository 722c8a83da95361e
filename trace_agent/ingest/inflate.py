"""Inflate request bodies piece by piece: compressed chunks in, small plain pieces out.

A kilobyte of gzip can hold a megabyte of zeros. So nothing is inflated before the caller has found room
for what came before, and it can stop where its bound is.
"""

import zlib
from collections.abc import Iterator
from typing import Final

from trace_agent.core.errors import PacketError, Reason

__all__ = ["Inflater"]

_PIECE_BYTES: Final = 64 * 1024
# zlib.decompressobj: 16 + 15 reads gzip, 15 zlib (RFC 9110 calls it deflate), -15 raw deflate, which
# some clients send under that name all the same.
_GZIP: Final = 16 + zlib.MAX_WBITS
_ZLIB: Final = zlib.MAX_WBITS
_RAW: Final = -zlib.MAX_WBITS
_ZLIB_METHOD: Final = 8


class Inflater:
    """Undoes one `Content-Encoding`."""

    def __init__(self, encoding: str) -> None:
        self._is_plain = encoding in ("", "identity")
        self._window = _GZIP if encoding in ("gzip", "x-gzip") else _ZLIB
        self._inflate: zlib._Decompress | None = None

    @staticmethod
    def knows(encoding: str) -> bool:
        """Return whether this `Content-Encoding` can be undone."""
        return encoding in ("", "identity", "gzip", "x-gzip", "deflate")

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what `data` inflates to, in pieces that are made when they are asked for.

        Raises:
            PacketError: it is damaged, or goes on after its end.
        """
        if not data:
            return
        if self._is_plain:
            yield data
            return
        if self._inflate is None:
            # The low four bits of a zlib header name the method, and 8 is the only one (RFC 1950).
            raw = self._window == _ZLIB and data[0] & 0x0F != _ZLIB_METHOD
            self._inflate = zlib.decompressobj(_RAW if raw else self._window)
        more = True
        while more:
            try:
                piece = self._inflate.decompress(data, _PIECE_BYTES)
            except zlib.error:
                raise PacketError(Reason.BAD_ENCODING, "the compressed body is damaged") from None
            if self._inflate.unused_data:
                raise PacketError(Reason.TRAILING_BYTES, "bytes follow the compressed body")
            if piece:
                yield piece
            data = self._inflate.unconsumed_tail
            # A full piece may have left output in zlib's window when all input is consumed.
            more = bool(data) or len(piece) == _PIECE_BYTES

    def finish(self) -> None:
        """Check that the compressed body was whole.

        Raises:
            PacketError: it was cut short.
        """
        if self._inflate is not None and not self._inflate.eof:
            raise PacketError(Reason.TRUNCATED, "the compressed body is cut short")
