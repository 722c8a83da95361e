"""Streams are cut into the same packets wherever the network cut them.

Invariant: for any bytes, fed whole, byte by byte or cut anywhere, a splitter gives the same frames or lines,
ends in the same refusal or in none, and never holds more than a packet may have.
"""

from collections.abc import Callable, Iterable
from functools import partial
from struct import pack
from typing import Final, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import chunks
from trace_agent.core.errors import FrameError, Reason
from trace_agent.core.frames import (
    FRAME_LIMIT_BYTES,
    LINE_LIMIT_BYTES,
    LengthSplitter,
    LineSplitter,
    StreamSplitter,
)

Splitter: TypeAlias = LengthSplitter | LineSplitter | StreamSplitter
Outcome: TypeAlias = tuple[list[bytes], Reason | None]

SMALL: Final = 8
FRAMES: Final = partial(LengthSplitter, SMALL)
LINES: Final = partial(LineSplitter, SMALL)


def frame(payload: bytes) -> bytes:
    """Return `payload` as it goes over a Unix stream."""
    return pack("<I", len(payload)) + payload


def fed(splitter: Splitter, pieces: Iterable[bytes]) -> Outcome:
    """Feed a splitter to its end; return the packets, and why they ended where they did."""
    found: list[bytes] = []
    try:
        for piece in pieces:
            found += splitter.feed(piece)
        found += splitter.finish()
    except FrameError as error:
        return [*found, *error.packets], error.reason
    return found, None


def bytewise(data: bytes) -> list[bytes]:
    """Return `data` byte by byte."""
    return [data[at : at + 1] for at in range(len(data))]


def lines_of(outcome: Outcome) -> Outcome:
    """Return an outcome with each line by itself, since a packet holds as many as a chunk completed."""
    packets, reason = outcome
    return [line for packet in packets for line in packet.split(b"\n")], reason


CASES: Final[list[tuple[str, Callable[[], Splitter], bytes, list[bytes], Reason | None]]] = [
    ("nothing", FRAMES, b"", [], None),
    ("one frame", FRAMES, frame(b"abc"), [b"abc"], None),
    ("frames", FRAMES, frame(b"abc") + frame(b"d") + frame(b"efgh"), [b"abc", b"d", b"efgh"], None),
    ("empty frames", FRAMES, frame(b"") + frame(b"a") + frame(b""), [b"", b"a", b""], None),
    ("frame at the limit", FRAMES, frame(b"x" * SMALL), [b"x" * SMALL], None),
    ("frame above it", FRAMES, frame(b"a") + frame(b"x" * (SMALL + 1)), [b"a"], Reason.TOO_LARGE),
    ("absurd length", FRAMES, b"\xff\xff\xff\xff" + b"x" * 99, [], Reason.TOO_LARGE),
    ("cut in the length", FRAMES, frame(b"a") + b"\x01\x00", [b"a"], Reason.TRUNCATED),
    ("cut in the frame", FRAMES, frame(b"a") + frame(b"bcd")[:-1], [b"a"], Reason.TRUNCATED),
    ("newlines are data", FRAMES, frame(b"a\nb"), [b"a\nb"], None),
    ("no lines", LINES, b"", [], None),
    ("one line", LINES, b"abc\n", [b"abc"], None),
    ("last line without end", LINES, b"abc\nd", [b"abc", b"d"], None),
    ("empty lines", LINES, b"\na\n\n", [b"", b"a", b""], None),
    ("carriage returns are kept", LINES, b"a\r\nb\r\n", [b"a\r", b"b\r"], None),
    ("line at the limit", LINES, b"x" * SMALL + b"\ny\n", [b"x" * SMALL, b"y"], None),
    ("last line at the limit", LINES, b"y\n" + b"x" * SMALL, [b"y", b"x" * SMALL], None),
    ("line above it", LINES, b"a\nb\n" + b"x" * (SMALL + 1) + b"\ny\n", [b"a", b"b"], Reason.TOO_LARGE),
    ("first line above it", LINES, b"x" * (SMALL + 1) + b"\ny\n", [], Reason.TOO_LARGE),
    ("last line above it", LINES, b"a\n" + b"x" * (SMALL + 1), [b"a"], Reason.TOO_LARGE),
    ("many lines", LINES, b"abcd\n" * 9, [b"abcd"] * 9, None),
    ("stream of frames", StreamSplitter, frame(b'{"a":1}') + frame(b"a:1|c"), [b'{"a":1}', b"a:1|c"], None),
    ("stream that begins empty", StreamSplitter, frame(b"") + frame(b"a"), [b"", b"a"], None),
    ("stream cut in a frame", StreamSplitter, frame(b"abc")[:-1], [], Reason.TRUNCATED),
    ("stream of text", StreamSplitter, b"a:1|c\nb:2|c\n", [b"a:1|c", b"b:2|c"], None),
    ("text that begins with empty lines", StreamSplitter, b"\n\n\n\na", [b"", b"", b"", b"", b"a"], None),
    ("four bytes of text", StreamSplitter, b"a:1\n", [b"a:1"], None),
    ("three bytes of text", StreamSplitter, b"a:1", [b"a:1"], None),
    ("silent stream", StreamSplitter, b"", [], None),
    ("length above 16 MiB is text", StreamSplitter, b"\x00\x00\x00\x01\n", [b"\x00\x00\x00\x01"], None),
    ("length above 4 MiB", StreamSplitter, pack("<I", FRAME_LIMIT_BYTES + 1), [], Reason.TOO_LARGE),
    ("text without end", StreamSplitter, b"x" * (LINE_LIMIT_BYTES + 1), [], Reason.TOO_LARGE),
]


@pytest.mark.parametrize(
    ("make", "data", "packets", "reason"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_streams(
    make: Callable[[], Splitter], data: bytes, packets: list[bytes], reason: Reason | None
) -> None:
    """A stream gives the same packets in one piece, byte by byte and with empty chunks between."""
    outcomes = [
        fed(make(), pieces)
        for pieces in ([data], bytewise(data), [b"", data, b""], [data[:5], data[5:]], [data[:-1], data[-1:]])
    ]
    if not isinstance(make(), LengthSplitter) and data[3:4] != b"\x00":
        outcomes = [lines_of(outcome) for outcome in outcomes]

    assert outcomes == [(packets, reason)] * len(outcomes)


def test_lines_of_a_chunk_stay_together() -> None:
    """All lines that a chunk completes are one packet, so that a message of several lines stays whole."""
    splitter = LineSplitter()

    assert splitter.feed(b"a\nb\nc") == [b"a\nb"]
    assert splitter.feed(b"") == []
    assert splitter.feed(b"\nd\n") == [b"c\nd"]


def test_full_size_frame() -> None:
    """A frame of 4 MiB passes, in the chunks that a socket gives."""
    payload = bytes(range(256)) * (FRAME_LIMIT_BYTES // 256)
    data = frame(payload)
    splitter = StreamSplitter()
    found = [packet for at in range(0, len(data), 65_536) for packet in splitter.feed(data[at : at + 65_536])]

    assert found == [payload]
    assert splitter.pending_bytes == 0


def test_claimed_length_costs_nothing() -> None:
    """Only what has arrived is held, whatever length was claimed."""
    splitter = LengthSplitter()
    splitter.feed(pack("<I", FRAME_LIMIT_BYTES) + b"abc")

    assert splitter.pending_bytes == 7


@pytest.mark.parametrize(
    ("splitter", "piece", "pending_bytes"),
    [
        (LengthSplitter(SMALL), frame(b"ab") + b"\x02\x00", 2),
        (LineSplitter(SMALL), b"ab\nc", 1),
        (StreamSplitter(), b"a:1", 3),
        (StreamSplitter(), b"a:1|c", 5),
    ],
)
def test_pending(splitter: Splitter, piece: bytes, pending_bytes: int) -> None:
    """What is no whole packet yet is told in bytes, and nothing is left after the end."""
    splitter.feed(piece)
    before = splitter.pending_bytes
    fed(splitter, [])

    assert before == pending_bytes
    assert splitter.pending_bytes == 0


@pytest.mark.parametrize("splitter", [LengthSplitter(SMALL), LineSplitter(SMALL)])
def test_nothing_is_held_after_damage(splitter: Splitter) -> None:
    """A stream that cannot be followed holds no memory until its connection is closed."""
    with pytest.raises(FrameError, match="may have 8 bytes"):
        splitter.feed(b"\xff" * 99)

    assert splitter.pending_bytes == 0


@pytest.mark.parametrize(
    ("start", "is_text"), [(b"", False), (b"a:1", False), (b"a:1|", True), (frame(b"a"), False)]
)
def test_framing_is_told_by_four_bytes(start: bytes, is_text: bool) -> None:
    """Whether a stream is text is known from its fourth byte on."""
    splitter = StreamSplitter()
    splitter.feed(start)

    assert splitter.is_text is is_text


@pytest.mark.parametrize("make", [FRAMES, LINES])
@given(st.lists(st.binary(max_size=2 * SMALL) | st.binary(max_size=SMALL).map(frame)))
def test_bounded_memory(make: Callable[[], Splitter], pieces: list[bytes]) -> None:
    """A splitter never holds more than one unfinished packet."""
    splitter = make()
    held: list[int] = []
    for piece in pieces:
        try:
            splitter.feed(piece)
        except FrameError:
            break
        held.append(splitter.pending_bytes)

    assert max(held, default=0) < SMALL + 4


@given(st.lists(st.binary(max_size=SMALL + 1)), st.binary(max_size=6), st.data())
def test_frames_cut_anywhere(payloads: list[bytes], tail: bytes, data: st.DataObject) -> None:
    """Frames come out the same wherever their stream is cut, up to the first that is damaged."""
    stream = b"".join(map(frame, payloads)) + tail
    whole = fed(FRAMES(), [stream])
    pieces = data.draw(chunks(stream))

    assert fed(FRAMES(), pieces) == whole
    assert whole[0][: len(payloads)] == payloads[: len(whole[0])]


@given(st.lists(st.sampled_from([b"a", b"bcd", b"\n", b"\r\n", b"\xff", b"x" * SMALL])), st.data())
def test_lines_cut_anywhere(parts: list[bytes], data: st.DataObject) -> None:
    """Lines come out the same wherever their stream is cut, up to the first that is too long."""
    stream = b"".join(parts)
    splitter = LINES()
    pieces = data.draw(chunks(stream))
    lines, reason = lines_of(fed(LINES(), [stream]))

    assert lines_of(fed(splitter, pieces)) == (lines, reason)
    assert splitter.pending_bytes == 0
    assert all(len(line) <= SMALL for line in lines)
    if reason is None:
        assert b"\n".join(lines) == stream.removesuffix(b"\n")


@given(
    st.binary(max_size=64) | st.lists(st.binary(max_size=9)).map(lambda all_: b"".join(map(frame, all_))),
    st.data(),
)
def test_any_stream(stream: bytes, data: st.DataObject) -> None:
    """Any bytes at all give packets or a `FrameError`, the same ones however they come."""
    splitter = StreamSplitter()
    pieces = data.draw(chunks(stream))
    whole, cut = fed(StreamSplitter(), [stream]), fed(splitter, pieces)

    assert (lines_of(cut) if splitter.is_text else cut) == (lines_of(whole) if splitter.is_text else whole)
    assert splitter.pending_bytes == 0
