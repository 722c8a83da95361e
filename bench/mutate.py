"""Bend valid packets and traps at random: a seeded source of chance in, hostile bytes out.

Cutting, splicing and repeating what is valid reaches far deeper than noise, which every parser refuses at
its first byte.
"""

import random
import zlib
from collections.abc import Callable, Sequence
from typing import Final

from attrs import frozen

from bench.client import encode_request
from bench.traps import MAGIC, PACKET_TRAPS, VALID_PACKETS, VALID_STATSD
from bench.traps_http import HTTP_TRAPS

__all__ = ["Mutator"]

_PATHS: Final = ("/v1/events", "/v1/traces", "/v1/errors", "/v1/events?sync=0", "/v1/logs", "/v1/metrics")
_TYPES: Final = (
    "application/json",
    "application/cbor",
    "application/x-ndjson",
    "application/json; charset=utf-8",
    "application/x-protobuf",
    "text/plain",
    "",
)
# Most packets stay small, as most packets are; the traps bring the large ones.
_USUAL_BYTES: Final = 4096


@frozen
class Mutator:
    """Makes packets, streams and requests.

    Attributes:
        chance: seeded, so that a run can be repeated.
    """

    chance: random.Random

    def packet(self, limit: int) -> bytes:
        """Return one packet of at most `limit` bytes."""
        choose, chance = self.chance.choice, self.chance.random()
        if chance < 0.01:
            # Whole traps are large or slow to read on purpose, so they are rare.
            return choose(PACKET_TRAPS)[:limit]
        if chance < 0.06:
            return self._bend(choose(PACKET_TRAPS)[:_USUAL_BYTES])
        if chance < 0.36:
            lines = self.chance.choices(VALID_STATSD, k=self.chance.randint(1, 4))
            return self._bend(b"\n".join(lines))[:limit]
        if chance < 0.46:
            return choose(VALID_PACKETS)
        return self._bend(choose(VALID_PACKETS))[:limit]

    def frames(self, count: int, limit: int) -> bytes:
        """Return `count` well-framed packets, none of them empty, each with its right length in front."""
        packets = [self.packet(limit) or b"\n" for _ in range(count)]
        return b"".join(len(packet).to_bytes(4, "little") + packet for packet in packets)

    def stream(self) -> bytes:
        """Return what one Unix connection gets that is not framed as it should be."""
        chance = self.chance.random()
        if chance < 0.3:
            return b"\n".join(self.packet(2048) for _ in range(self.chance.randint(1, 8)))
        length = self.chance.choice((0, 1, 2**24, 2**24 - 1, 4 * 2**20, 4 * 2**20 + 1, 2**31, 2**32 - 1))
        if chance < 0.6:
            return self.frames(1, 2048) + length.to_bytes(4, "little") + self.packet(2048)
        return self._bend(self.frames(self.chance.randint(1, 4), 2048))

    def request(self, port: int) -> bytes:
        """Return a well-formed HTTP request with a body that may be anything."""
        path, content_type = self._mostly_first(_PATHS), self._mostly_first(_TYPES)
        body = self.packet(64 * 1024)
        if self.chance.random() < 0.1:
            body = b"\n".join(self.packet(2048) for _ in range(self.chance.randint(1, 6)))
            content_type = "application/x-ndjson"
        elif body[:1] >= b"\x80" and self.chance.random() < 0.9:
            content_type = "application/cbor"
        request = encode_request("POST", path, port, body, content_type)
        if self.chance.random() < 0.1:
            packed = zlib.compress(body, 1)
            if self.chance.random() < 0.5:
                packed = self._bend(packed)
            request = encode_request("POST", path, port, packed, content_type)
            request = request.replace(b"\r\n", b"\r\nContent-Encoding: deflate\r\n", 1)
        return request

    def damaged_request(self, port: int) -> bytes:
        """Return bytes that are hardly an HTTP request any more."""
        if self.chance.random() < 0.3:
            return self.chance.choice(HTTP_TRAPS)
        if self.chance.random() < 0.5:
            return self._bend(self.chance.choice(HTTP_TRAPS)[: 16 * 1024])
        return self._bend(self.request(port)[: 16 * 1024])

    def _mostly_first(self, values: Sequence[str]) -> str:
        return values[0] if self.chance.random() < 0.6 else self.chance.choice(values)

    def _bend(self, data: bytes) -> bytes:
        for _ in range(self.chance.choice((1, 1, 1, 2, 2, 3, 6))):
            data = self.chance.choice(_BENDS)(self.chance, data)
        return data


def _cut(chance: random.Random, data: bytes) -> bytes:
    at = chance.randint(0, len(data))
    return data[:at] if chance.random() < 0.5 else data[at:]


def _remove(chance: random.Random, data: bytes) -> bytes:
    at = chance.randint(0, len(data))
    return data[:at] + data[at + chance.randint(1, 8) :]


def _flip_bit(chance: random.Random, data: bytes) -> bytes:
    if not data:
        return data
    at = chance.randrange(len(data))
    return data[:at] + bytes((data[at] ^ (1 << chance.randrange(8)),)) + data[at + 1 :]


def _set_byte(chance: random.Random, data: bytes) -> bytes:
    if not data:
        return data
    at = chance.randrange(len(data))
    return data[:at] + bytes((chance.randrange(256),)) + data[at + 1 :]


def _insert_magic(chance: random.Random, data: bytes) -> bytes:
    at = chance.randint(0, len(data))
    return data[:at] + chance.choice(MAGIC) + data[at + chance.choice((0, 0, 1, 4)) :]


def _replace_number(chance: random.Random, data: bytes) -> bytes:
    """Put something odd in the place of a run of digits."""
    digits = [at for at, byte in enumerate(data) if 0x30 <= byte <= 0x39]
    if not digits:
        return data
    at = end = chance.choice(digits)
    while end < len(data) and 0x30 <= data[end] <= 0x39:
        end += 1
    return data[:at] + chance.choice(MAGIC) + data[end:]


def _repeat(chance: random.Random, data: bytes) -> bytes:
    at = chance.randint(0, len(data))
    piece = data[at : at + chance.choice((1, 2, 8, 64))]
    times = min(chance.choice((2, 8, 100)), _USUAL_BYTES // (len(piece) or 1))
    return data[:at] + piece * times + data[at:]


def _splice(chance: random.Random, data: bytes) -> bytes:
    other = chance.choice(VALID_PACKETS)
    return data[: chance.randint(0, len(data))] + other[chance.randint(0, len(other)) :]


def _wrap(chance: random.Random, data: bytes) -> bytes:
    opening, closing = chance.choice(((b"[", b"]"), (b"\x81", b""), (b'{"events":[', b"]}"), (b"\xc1", b"")))
    times = chance.choice((1, 1, 2, 20, 100))
    return opening * times + data + closing * times


_BENDS: Final[tuple[Callable[[random.Random, bytes], bytes], ...]] = (
    _cut,
    _remove,
    _flip_bit,
    _set_byte,
    _insert_magic,
    _insert_magic,
    _replace_number,
    _repeat,
    _splice,
    _wrap,
)
