"""Compressed bodies come out as they went in, in small pieces, or are refused by name.

Invariant: whatever bytes are fed, cut anywhere, either the plain bytes come out or a `PacketError` does.
"""

import gzip
import zlib
from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trace_agent.core.errors import PacketError, Reason
from trace_agent.ingest.inflate import Inflater

PIECE_BYTES = 64 * 1024


def raw_deflate(data: bytes) -> bytes:
    """Compress without any header, as some clients do under the name of deflate."""
    compress = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compress.compress(data) + compress.flush()


CODINGS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("x-gzip", gzip.compress),
    "zlib": ("deflate", zlib.compress),
    "raw deflate": ("deflate", raw_deflate),
}


def inflated(encoding: str, chunks: Sequence[bytes]) -> bytes:
    """Return what chunks inflate to, each fed by itself, and check that the body was whole."""
    inflater = Inflater(encoding)
    plain = b"".join(piece for chunk in chunks for piece in inflater.feed(chunk))
    inflater.finish()
    return plain


def cut(data: bytes, places: Sequence[int]) -> list[bytes]:
    """Cut data at places that may lie beyond it."""
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:stop] for start, stop in pairwise(edges)]


@pytest.mark.parametrize("coding", CODINGS)
@given(data=st.binary(max_size=2000), places=st.lists(st.integers(0, 5000), max_size=5))
def test_cut_anywhere(coding: str, data: bytes, places: list[int]) -> None:
    """What was compressed comes out again, wherever the stream was cut."""
    encoding, compress = CODINGS[coding]

    assert inflated(encoding, cut(compress(data), places)) == data


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize(
    "size_bytes", [PIECE_BYTES + extra for extra in (-259, -1, 0, 1, 100, 259, PIECE_BYTES)]
)
def test_sizes_around_a_piece(coding: str, size_bytes: int) -> None:
    """The last bytes come out also when zlib holds them back after it has eaten all input."""
    encoding, compress = CODINGS[coding]

    assert inflated(encoding, [compress(bytes(size_bytes))]) == bytes(size_bytes)


@pytest.mark.parametrize("encoding", ["", "identity"])
def test_plain(encoding: str) -> None:
    """A body that is not compressed passes as it is."""
    assert inflated(encoding, [b"ab", b"", b"c"]) == b"abc"


@pytest.mark.parametrize("coding", CODINGS)
def test_bomb(coding: str) -> None:
    """A bomb goes off a piece at a time, and not at all when nobody asks for the next one."""
    encoding, compress = CODINGS[coding]
    bomb = compress(bytes(20_000_000))
    pieces = Inflater(encoding).feed(bomb)

    assert len(bomb) < 30_000
    assert len(next(pieces)) <= PIECE_BYTES
    assert sum(1 for _ in pieces) < 310
    assert max(map(len, Inflater(encoding).feed(bomb))) <= PIECE_BYTES


@pytest.mark.parametrize("coding", CODINGS)
def test_cut_short(coding: str) -> None:
    """A body that ends before its end is refused as truncated, not taken for what came."""
    encoding, compress = CODINGS[coding]
    for length in (1, 5, -9, -1):
        with pytest.raises(PacketError) as refused:
            inflated(encoding, [compress(b"some words, some words")[:length]])

        assert refused.value.reason is Reason.TRUNCATED


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("apart", [False, True])
def test_trailing_bytes(coding: str, apart: bool) -> None:
    """Bytes after the end are refused, in the same chunk or in a later one."""
    encoding, compress = CODINGS[coding]
    body = compress(b"words")
    with pytest.raises(PacketError) as refused:
        inflated(encoding, [body, b"more"] if apart else [body + b"more"])

    assert refused.value.reason is Reason.TRAILING_BYTES


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", b'{"type":"event"}'),
        ("gzip", zlib.compress(b"words")),
        ("deflate", gzip.compress(b"words")),
        ("deflate", b'{"type":"event"}'),
        ("deflate", zlib.compress(b"words")[:-4] + b"\0\0\0\0"),
        ("gzip", gzip.compress(b"words")[:-8] + bytes(8)),
    ],
)
def test_damaged(encoding: str, body: bytes) -> None:
    """What is no such compression, or has a wrong checksum, is refused as badly encoded."""
    with pytest.raises(PacketError) as refused:
        inflated(encoding, [body])

    assert refused.value.reason is Reason.BAD_ENCODING


@given(encoding=st.sampled_from(["gzip", "deflate"]), chunks=st.lists(st.binary(max_size=300), max_size=5))
def test_any_bytes(encoding: str, chunks: list[bytes]) -> None:
    """Any bytes are inflated or refused by name, and nothing else happens."""
    reason = None
    try:
        inflated(encoding, chunks)
    except PacketError as error:
        reason = error.reason

    assert reason in {None, Reason.BAD_ENCODING, Reason.TRUNCATED, Reason.TRAILING_BYTES}


def test_known_encodings() -> None:
    """Only what can be undone is known; two encodings in a row are not."""
    known = [name for name in ("", "identity", "gzip", "x-gzip", "deflate") if Inflater.knows(name)]

    assert len(known) == 5
    assert not any(map(Inflater.knows, ("br", "zstd", "gzip, gzip", "compress", "GZIP")))
