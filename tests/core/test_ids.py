"""Ids are UUIDs of version 7: the time in front, chance behind."""

import itertools
import uuid
from collections.abc import Callable
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trace_agent.core.ids import IdMaker

LAST_MS: Final = 253_402_300_799_999


def counting() -> Callable[[int], bytes]:
    """Return a source of bytes that never repeat."""
    numbers = itertools.count()
    return lambda size: b"".join(next(numbers).to_bytes(10, "big") for _ in range(size // 10))


def constant(byte: bytes) -> Callable[[int], bytes]:
    """Return a source that knows one byte only."""
    return lambda size: byte * size


def test_example_of_the_rfc() -> None:
    """The example of RFC 9562, appendix A.6, comes out of its time and its random bits."""
    chance = 0xCC3 << 68 | 0x18C4_DC0C_0C07_398F
    maker = IdMaker(lambda size: chance.to_bytes(10, "big") * (size // 10))

    assert maker(1_645_557_742_000) == "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"


@given(st.floats(0, LAST_MS), st.binary(min_size=10, max_size=10))
def test_parts(now_ms: float, chance: bytes) -> None:
    """Time, version and variant stand where RFC 9562, section 5.7, wants them, whatever chance brings."""
    made = uuid.UUID(IdMaker(lambda size: chance * (size // 10))(now_ms))

    assert made.int >> 80 == int(now_ms)
    assert made.version == 7
    assert made.variant == uuid.RFC_4122


@pytest.mark.parametrize("byte", [b"\x00", b"\xff"])
def test_canonical_text(byte: bytes) -> None:
    """An id is written as all UUIDs are, zeros included."""
    text = IdMaker(constant(byte))(0)

    assert str(uuid.UUID(text)) == text


def test_all_chance_is_used() -> None:
    """74 bits of chance reach the id: 12 behind the version, 62 behind the variant."""
    zeros, ones = (uuid.UUID(IdMaker(constant(byte))(0)).int for byte in (b"\x00", b"\xff"))

    assert zeros ^ ones == 0xFFF << 64 | 0x3FFF_FFFF_FFFF_FFFF


def test_no_chance_is_used_twice() -> None:
    """Ids of one moment differ, also when the source is asked again."""
    maker = IdMaker(counting())

    assert len({maker(1) for _ in range(1000)}) == 1000


def test_source_is_asked_rarely() -> None:
    """One call to the source of chance serves hundreds of ids."""
    asked: list[int] = []
    source = counting()

    def watched(size: int) -> bytes:
        asked.append(size)
        return source(size)

    maker = IdMaker(watched)
    ids = [maker(1) for _ in range(512)]

    assert len(ids) / len(asked) >= 256


def test_order_of_time() -> None:
    """Later ids are greater as text, which keeps an index over them compact."""
    maker = IdMaker(constant(b"\xff"))
    ids = [maker(now_ms) for now_ms in (0, 1, 255, 256, 1_795_341_600_000, LAST_MS)]

    assert ids == sorted(ids)
