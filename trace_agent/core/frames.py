"""Cut a byte stream into packets without doing any I/O: chunks in, whole packets out.

A Unix connection speaks one of two framings for its whole life, and its first four bytes tell which
(CONTRACT section 1): a u32 little-endian length, whose fourth byte is 0 because no frame is larger
than 4 MiB, or StatsD text, whose fourth byte is a character.
"""

from struct import Struct
from typing import Final

from trace_agent.core.errors import FrameError, Reason

__all__ = ["FRAME_LIMIT_BYTES", "LINE_LIMIT_BYTES", "LengthSplitter", "LineSplitter", "StreamSplitter"]

FRAME_LIMIT_BYTES: Final = 4 * 1024 * 1024
# As long as a datagram could be: nothing that fits UDP is too long for a stream.
LINE_LIMIT_BYTES: Final = 65_507
_LENGTH: Final = Struct("<I")
_PREFIX_BYTES: Final = _LENGTH.size


class LengthSplitter:
    """Cuts frames of a u32 little-endian length (which excludes itself) and that many bytes."""

    def __init__(self, limit_bytes: int = FRAME_LIMIT_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._rest = bytearray()

    @property
    def pending_bytes(self) -> int:
        """Return how much of an unfinished frame is held."""
        return len(self._rest)

    def feed(self, data: bytes) -> list[bytes]:
        """Return the frames that `data` completes, possibly none.

        Raises:
            FrameError: a length is over the limit. Nothing is allocated for a length that was only
                claimed, and no later frame of this stream can be found.
        """
        buffer: bytes | bytearray = data
        if self._rest:
            self._rest += data
            buffer = self._rest
        frames: list[bytes] = []
        start, end = 0, len(buffer)
        while end - start >= _PREFIX_BYTES:
            (length,) = _LENGTH.unpack_from(buffer, start)
            if length > self._limit_bytes:
                self._rest = bytearray()
                raise FrameError(Reason.TOO_LARGE, f"a frame may have {self._limit_bytes} bytes", frames)
            stop = start + _PREFIX_BYTES + length
            if stop > end:
                break
            frames.append(bytes(buffer[start + _PREFIX_BYTES : stop]))
            start = stop
        if buffer is self._rest:
            del self._rest[:start]
        else:
            self._rest += buffer[start:]
        return frames

    def finish(self) -> list[bytes]:
        """Return what the end of the stream completes: nothing.

        Raises:
            FrameError: the stream ended within a frame.
        """
        if self._rest:
            self._rest = bytearray()
            raise FrameError(Reason.TRUNCATED, "the stream ended within a frame")
        return []


class LineSplitter:
    """Cuts text after newlines: each packet holds all lines that one chunk completed.

    They stay together because some clients write one service check over several lines.
    """

    def __init__(self, limit_bytes: int = LINE_LIMIT_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._rest = b""

    @property
    def pending_bytes(self) -> int:
        """Return how much of an unfinished line is held."""
        return len(self._rest)

    def feed(self, data: bytes) -> list[bytes]:
        """Return the lines that `data` completes as at most one packet.

        Raises:
            FrameError: a line is over the limit.
        """
        text = self._rest + data
        # From line to line in strides as long as a line may be, so that the verdict does not depend on
        # where the stream was cut.
        start = 0
        while len(text) - start > self._limit_bytes:
            newline = text.rfind(b"\n", start, start + self._limit_bytes + 1)
            if newline < 0:
                self._rest = b""
                packets = [text[: start - 1]] if start else []
                raise FrameError(Reason.TOO_LARGE, f"a line may have {self._limit_bytes} bytes", packets)
            start = newline + 1
        lines, ended, self._rest = text.rpartition(b"\n")
        return [lines] if ended else []

    def finish(self) -> list[bytes]:
        """Return the last line, which needs no newline."""
        rest, self._rest = self._rest, b""
        return [rest] if rest else []


class StreamSplitter:
    """Finds out from its first four bytes how a stream is framed, and cuts it that way."""

    def __init__(self) -> None:
        self._first = b""
        self._splitter: LengthSplitter | LineSplitter | None = None

    @property
    def is_text(self) -> bool:
        """Return whether the stream turned out to be newline-delimited text."""
        return isinstance(self._splitter, LineSplitter)

    @property
    def pending_bytes(self) -> int:
        """Return how much is held that is no whole packet yet."""
        return len(self._first) if self._splitter is None else self._splitter.pending_bytes

    def feed(self, data: bytes) -> list[bytes]:
        """Return the packets that `data` completes, possibly none.

        Raises:
            FrameError: the stream cannot be followed any further; `packets` has what came before.
        """
        if self._splitter is None:
            self._first += data
            if len(self._first) < _PREFIX_BYTES:
                return []
            self._splitter = LineSplitter() if self._first[_PREFIX_BYTES - 1] else LengthSplitter()
            data, self._first = self._first, b""
        return self._splitter.feed(data)

    def finish(self) -> list[bytes]:
        """Return what the end of the stream completes.

        Raises:
            FrameError: the stream ended within a frame.
        """
        if self._splitter is None:
            # Fewer than four bytes in all can be no frame, so they are a very short line.
            first, self._first = self._first, b""
            return [first] if first else []
        return self._splitter.finish()
