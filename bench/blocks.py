"""Build what a load sends: a recipe in, a block of encoded packets whose ids change in place out.

Encoding an event in Python costs more than trace-agent spends on receiving it, so packets are encoded
once. Every id (and text) holds the eight hex digits of a block counter; `stamp` overwrites them, at
about 50 ns each, and the rest of an id tells the packets of one block apart. So no id repeats.
"""

import json
import math
import struct
import time
from collections.abc import Callable
from typing import Final

import cbor2
from attrs import define, frozen

from bench.client import encode_request

__all__ = ["Block", "Recipe", "build_block"]

_STAMP: Final = b"@@@@@@@@"
_CONTENT_TYPES: Final = {"cbor": "application/cbor", "json": "application/json"}
# A conversation's length varies; compressible like words, unlike a run of one letter.
_WORDS: Final = (
    "the agent reads the file, finds that the test fails since the port is taken, and asks for another; "
)


@frozen
class Recipe:
    """What the packets of a load are made of.

    Attributes:
        kind: `llm`, `event` or `statsd`.
        format: `cbor` or `json`; a StatsD packet is text whatever this says.
        batch: events or lines a packet.
        size_bytes: of one encoded event; the smallest possible where that is more.
        run: first part of every id and metric name, so that a load's rows can be told from others.
    """

    kind: str
    format: str
    batch: int
    size_bytes: int
    run: str


@define
class Block:
    """Encoded packets, one after the other, ready for the wire.

    Attributes:
        data: all of them.
        ends: where each packet ends, so packet i is data[ends[i-1]:ends[i]].
        stamps: where the counter stands.
        batch: events a packet.
    """

    data: bytearray
    ends: tuple[int, ...]
    stamps: tuple[int, ...]
    batch: int
    _next: int = 0

    def stamp(self) -> None:
        """Give every event of the block a new id."""
        digits = b"%08x" % self._next
        self._next += 1
        data = self.data
        for at in self.stamps:
            data[at : at + 8] = digits

    def __len__(self) -> int:
        return len(self.ends)

    @property
    def event_bytes(self) -> float:
        """Return the size on the wire of one event, its share of framing included."""
        return len(self.data) / (len(self.ends) * self.batch)


def build_block(recipe: Recipe, carrier: str, packets: int, sender: int, port: int) -> Block:
    """Encode `packets` packets, framed as `carrier` wants them, with ids that no other sender uses."""
    data, ends = bytearray(), []
    for slot in range(packets):
        payload = _payload(recipe, f"{sender:x}-@@@@@@@@-{slot:x}")
        if carrier == "unix":
            payload = struct.pack("<I", len(payload)) + payload
        elif carrier == "http":
            payload = encode_request("POST", "/v1/events", port, payload, _CONTENT_TYPES[recipe.format])
        data += payload
        ends.append(len(data))
    stamps, at = [], data.find(_STAMP)
    while at >= 0:
        stamps.append(at)
        at = data.find(_STAMP, at + 8)
    return Block(data, tuple(ends), tuple(stamps), recipe.batch)


def _payload(recipe: Recipe, unique: str) -> bytes:
    if recipe.kind == "statsd":
        return b"\n".join(_line(recipe, index) for index in range(recipe.batch))
    make: Callable[[str, str], dict[str, object]] = _llm if recipe.kind == "llm" else _event
    encode = cbor2.dumps if recipe.format == "cbor" else _encode_json
    bare = len(encode(make(f"{recipe.run}-{unique}-0", "")))
    padding = max(0, recipe.size_bytes - bare)
    text = (_WORDS * math.ceil(padding / len(_WORDS)))[:padding]
    events = [make(f"{recipe.run}-{unique}-{index:x}", text) for index in range(recipe.batch)]
    return encode(events if recipe.batch > 1 else events[0])


def _encode_json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _llm(event_id: str, text: str) -> dict[str, object]:
    question, answer = text[: len(text) * 2 // 3], text[len(text) * 2 // 3 :]
    return {
        "type": "llm",
        "id": event_id,
        "ts": time.time_ns() // 1_000_000,
        "agent": "bench",
        "session": "bench-load",
        "provider": "anthropic",
        "model": "claude-sonnet-4-5",
        "tokens": {"input": 1200, "cache_read": 8000, "output": 350},
        "latency_ms": 2150.5,
        "ttft_ms": 430.0,
        "status": "ok",
        "input": [{"role": "user", "content": f"@@@@@@@@ {question}"}],
        "output": f"@@@@@@@@ {answer}",
    }


def _event(event_id: str, text: str) -> dict[str, object]:
    return {
        "type": "event",
        "id": event_id,
        "ts": time.time_ns() // 1_000_000,
        "agent": "bench",
        "session": "bench-load",
        "name": "bench.step",
        "duration_ms": 12.5,
        "attributes": {"tool": "read_file", "note": text},
    }


def _line(recipe: Recipe, index: int) -> bytes:
    """Return a StatsD line: of six, three count, two time and one gauges, as an agent's do."""
    name, tags = recipe.run, f"|#agent:bench,tool:t{index % 4}"
    kind = index % 6
    if kind < 3:
        line = f"{name}.calls:1|c{tags}"
    elif kind < 5:
        line = f"{name}.latency:{20 + index % 50}|ms{tags}"
    else:
        line = f"{name}.queue:{index % 9}|g{tags}"
    padding = recipe.size_bytes - len(line) - len(",pad:")
    return f"{line},pad:{'x' * padding}".encode() if padding > 0 else line.encode()
