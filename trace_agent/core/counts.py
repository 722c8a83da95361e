"""Tally the fate of every packet and event: what comes in goes out by exactly one of these names.

The laws (CONTRACT section 4), checked by `laws_broken`:

- packets: received = accepted + refused + dropped + waiting
- events:  accepted = stored + merged + repeated + folded + dead + dropped + waiting

All counts are kept by the event loop alone; the writer's thread returns its results to it.
"""

from collections import Counter
from enum import StrEnum

from attrs import Factory, define

from trace_agent.core.errors import Reason

__all__ = ["Carrier", "Counts", "EventCounts", "PacketCounts"]


class Carrier(StrEnum):
    """How a packet reached us."""

    UDP = "udp"
    UNIX = "unix"
    HTTP = "http"


@define
class PacketCounts:
    """The packets of one carrier.

    Attributes:
        received: packets taken from the socket.
        received_bytes: their size.
        accepted: at least one event of theirs was accepted, or they carry none by intent (a hello).
        refused: nothing in them could be used, by reason.
        dropped: not looked at, by reason.
        last_ms: when the last one was accepted, Unix milliseconds.
    """

    received: int = 0
    received_bytes: int = 0
    accepted: int = 0
    refused: Counter[Reason] = Factory(Counter)
    dropped: Counter[Reason] = Factory(Counter)
    last_ms: int | None = None

    @property
    def settled(self) -> int:
        """Return how many received packets have met their fate."""
        return self.accepted + self.refused.total() + self.dropped.total()


@define
class EventCounts:
    """Events, whatever carrier brought them.

    Attributes:
        accepted: valid events.
        refused: events that could not be read, by reason; never part of accepted.
        stored: rows made.
        merged: later sightings of a call that has a row.
        repeated: events whose id was there already.
        folded: metric samples that went into a window.
        dead: refused by SQLite, kept as dead letters.
        dropped: accepted, then lost, by reason.
        text_shed: calls that lost their words, not their numbers, to make room.
        ts_clamped: stamps from the future replaced by the arrival time.
    """

    accepted: int = 0
    refused: Counter[Reason] = Factory(Counter)
    stored: int = 0
    merged: int = 0
    repeated: int = 0
    folded: int = 0
    dead: int = 0
    dropped: Counter[Reason] = Factory(Counter)
    text_shed: int = 0
    ts_clamped: int = 0

    @property
    def settled(self) -> int:
        """Return how many accepted events have met their fate."""
        return self.stored + self.merged + self.repeated + self.folded + self.dead + self.dropped.total()


@define
class Counts:
    """All tallies of one run of trace-agent.

    Attributes:
        client_dropped: events that clients say they dropped before sending, from their hellos.
    """

    packets: dict[Carrier, PacketCounts] = Factory(lambda: {carrier: PacketCounts() for carrier in Carrier})
    events: EventCounts = Factory(EventCounts)
    client_dropped: int = 0

    def laws_broken(self, packets_waiting: dict[Carrier, int], events_waiting: int) -> list[str]:
        """Return a sentence for each law that does not hold, given what the rings hold right now."""
        broken = []
        for carrier, counts in self.packets.items():
            waiting = packets_waiting.get(carrier, 0)
            if counts.received != counts.settled + waiting:
                broken.append(
                    f"{carrier} packets: received {counts.received} is not accepted {counts.accepted}"
                    f" + refused {counts.refused.total()} + dropped {counts.dropped.total()}"
                    f" + waiting {waiting}"
                )
        events = self.events
        if events.accepted != events.settled + events_waiting:
            broken.append(
                f"events: accepted {events.accepted} is not settled {events.settled}"
                f" + waiting {events_waiting}"
            )
        return broken
