"""Read `/v1/stats` into tallies and check the laws of CONTRACT section 4 over them.

The sums are made here from the published numbers, independently of trace-agent's own check, and on
differences too, so that a load can be judged on an agent that has run for days.
"""

import time
from collections.abc import Mapping
from typing import cast

from attrs import field, frozen

from bench.client import Client

__all__ = ["CARRIERS", "EventTally", "PacketTally", "Tally", "read_tally", "settle"]

CARRIERS = ("udp", "unix", "http")
Numbers = Mapping[str, int]


def _none() -> Numbers:
    return {}


@frozen
class PacketTally:
    """The packets of one carrier: received = accepted + refused + dropped + waiting."""

    received: int = 0
    accepted: int = 0
    refused: Numbers = field(factory=_none)
    dropped: Numbers = field(factory=_none)
    waiting: int = 0

    def since(self, earlier: "PacketTally") -> "PacketTally":
        """Return what was added after `earlier`; `waiting` is what waits now."""
        return PacketTally(
            self.received - earlier.received,
            self.accepted - earlier.accepted,
            _less(self.refused, earlier.refused),
            _less(self.dropped, earlier.dropped),
            self.waiting - earlier.waiting,
        )

    def broken(self, carrier: str) -> list[str]:
        """Return the law as a sentence if it does not hold."""
        fates = self.accepted + _sum(self.refused) + _sum(self.dropped) + self.waiting
        if self.received == fates:
            return []
        sentence = (
            f"{carrier} packets: received {self.received} is not accepted {self.accepted}"
            f" + refused {_sum(self.refused)} + dropped {_sum(self.dropped)} + waiting {self.waiting}"
        )
        return [sentence]


@frozen
class EventTally:
    """Events: accepted = stored + merged + repeated + folded + dead + dropped + waiting."""

    accepted: int = 0
    refused: Numbers = field(factory=_none)
    stored: int = 0
    merged: int = 0
    repeated: int = 0
    folded: int = 0
    dead: int = 0
    dropped: Numbers = field(factory=_none)
    waiting: int = 0

    def since(self, earlier: "EventTally") -> "EventTally":
        """Return what was added after `earlier`."""
        return EventTally(
            self.accepted - earlier.accepted,
            _less(self.refused, earlier.refused),
            self.stored - earlier.stored,
            self.merged - earlier.merged,
            self.repeated - earlier.repeated,
            self.folded - earlier.folded,
            self.dead - earlier.dead,
            _less(self.dropped, earlier.dropped),
            self.waiting - earlier.waiting,
        )

    def broken(self) -> list[str]:
        """Return the law as a sentence if it does not hold."""
        kept = self.stored + self.merged + self.repeated + self.folded + self.dead
        if self.accepted == kept + _sum(self.dropped) + self.waiting:
            return []
        sentence = (
            f"events: accepted {self.accepted} is not stored {self.stored} + merged {self.merged}"
            f" + repeated {self.repeated} + folded {self.folded} + dead {self.dead}"
            f" + dropped {_sum(self.dropped)} + waiting {self.waiting}"
        )
        return [sentence]


@frozen
class Tally:
    """All counters of one `/v1/stats` answer.

    Attributes:
        rows: `stored`, `acked`, `pending`, `pruned` as published.
        kernel_drops: datagrams that the kernel dropped at our sockets.
    """

    packets: Mapping[str, PacketTally]
    events: EventTally
    rows: Numbers
    kernel_drops: int

    @property
    def waiting(self) -> int:
        """Return how many packets and events have not met their fate."""
        return self.events.waiting + sum(packets.waiting for packets in self.packets.values())

    def since(self, earlier: "Tally") -> "Tally":
        """Return what was added after `earlier`."""
        packets = {name: self.packets[name].since(earlier.packets[name]) for name in CARRIERS}
        rows = {name: count - earlier.rows[name] for name, count in self.rows.items()}
        drops = self.kernel_drops - earlier.kernel_drops
        return Tally(packets, self.events.since(earlier.events), rows, drops)

    def broken(self) -> list[str]:
        """Return a sentence for each law that does not hold."""
        sentences = [text for name in CARRIERS for text in self.packets[name].broken(name)]
        sentences += self.events.broken()
        rows = self.rows
        if rows["stored"] != rows["acked"] + rows["pending"] + rows["pruned"]:
            sentences.append(
                f"rows: stored {rows['stored']} is not acked {rows['acked']}"
                f" + pending {rows['pending']} + pruned {rows['pruned']}"
            )
        return sentences


def read_tally(client: Client) -> Tally:
    """Ask for `/v1/stats`.

    Raises:
        OSError: no answer.
        ValueError: an answer that is not as CONTRACT section 3 says.
    """
    answer = client.get("/v1/stats")
    if answer.status != 200:
        raise ValueError(f"/v1/stats answered {answer.status}")
    stats = answer.json()
    packets, events = _map(stats, "packets"), _map(stats, "events")
    return Tally(
        {name: _packet_tally(_map(packets, name)) for name in CARRIERS},
        EventTally(
            refused=_numbers(events, "refused"),
            dropped=_numbers(events, "dropped"),
            waiting=_number(events, "waiting", 0),
            **{
                name: _number(events, name)
                for name in ("accepted", "stored", "merged", "repeated", "folded", "dead")
            },
        ),
        {name: _number(_map(stats, "rows"), name) for name in ("stored", "acked", "pending", "pruned")},
        _number(stats, "kernel_drops"),
    )


def settle(client: Client, limit_s: float = 60.0) -> Tally:
    """Wait until nothing waits and two looks in a row agree, and return the tally then.

    Raises:
        OSError, ValueError: as `read_tally`.
        TimeoutError: something still moves after `limit_s`.
    """
    deadline = time.monotonic() + limit_s
    before = read_tally(client)
    while time.monotonic() < deadline:
        time.sleep(0.15)
        now = read_tally(client)
        quiet = all(now.packets[name].received == before.packets[name].received for name in CARRIERS)
        if now.waiting == 0 and quiet:
            return now
        before = now
    raise TimeoutError(f"still {before.waiting} packets and events waiting after {limit_s:g} s")


def _packet_tally(values: Mapping[str, object]) -> PacketTally:
    return PacketTally(
        _number(values, "received"),
        _number(values, "accepted"),
        _numbers(values, "refused"),
        _numbers(values, "dropped"),
        _number(values, "waiting", 0),
    )


def _map(values: Mapping[str, object], name: str) -> Mapping[str, object]:
    value = values.get(name)
    if not isinstance(value, dict):
        raise ValueError(f"/v1/stats has no map {name}")  # noqa: TRY004 - a wrong answer, not a wrong type
    return cast("dict[str, object]", value)


def _number(values: Mapping[str, object], name: str, default: int | None = None) -> int:
    value = values.get(name, default)
    if not isinstance(value, int):
        raise ValueError(f"/v1/stats has no number {name}")  # noqa: TRY004 - as above
    return value


def _numbers(values: Mapping[str, object], name: str) -> Numbers:
    return {key: _number(_map(values, name), key) for key in _map(values, name)}


def _sum(values: Numbers) -> int:
    return sum(values.values())


def _less(now: Numbers, earlier: Numbers) -> Numbers:
    return {key: value - earlier.get(key, 0) for key, value in now.items() if value != earlier.get(key, 0)}
