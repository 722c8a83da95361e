"""Every packet and event meets exactly one fate, and a tally that does not add up is named."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trace_agent.core.counts import Carrier, Counts, EventCounts, PacketCounts
from trace_agent.core.errors import Reason


def test_laws_hold_at_the_start() -> None:
    """Nothing received is nothing missing."""
    assert Counts().laws_broken({}, 0) == []


def test_each_carrier_is_counted_by_itself() -> None:
    """There is a tally for each carrier, and tallies of two runs share nothing."""
    counts, others = Counts(), Counts()
    counts.packets[Carrier.UDP].refused[Reason.BAD_JSON] += 1
    counts.events.dropped[Reason.RING_FULL] += 1

    assert set(counts.packets) == set(Carrier)
    assert others.packets == {carrier: PacketCounts() for carrier in Carrier}
    assert others.events == EventCounts()
    assert counts.packets[Carrier.UNIX] == PacketCounts()


def test_settled_packets() -> None:
    """A packet is settled when it was accepted, refused or dropped, for whatever reason."""
    counts = PacketCounts(received=99, accepted=1)
    counts.refused.update({Reason.BAD_JSON: 2, Reason.EMPTY: 3})
    counts.dropped.update({Reason.RING_FULL: 4, Reason.SHUTDOWN: 5})

    assert counts.settled == 15


def test_settled_events() -> None:
    """An event is settled by six fates; refused ones never were events, shed and clamped ones still wait."""
    counts = EventCounts(stored=1, merged=2, repeated=4, folded=8, dead=16, text_shed=100, ts_clamped=100)
    counts.dropped[Reason.RING_FULL] = 32
    counts.refused[Reason.BAD_FIELD] = 100

    assert counts.settled == 63


def test_packets_that_wait() -> None:
    """What waits in a ring counts for its carrier, and for no other."""
    counts = Counts()
    counts.packets[Carrier.UDP].received = 3
    counts.packets[Carrier.UDP].accepted = 1

    assert counts.laws_broken({Carrier.UDP: 2}, 0) == []
    assert counts.laws_broken({Carrier.UNIX: 2}, 0) == [
        "udp packets: received 3 is not accepted 1 + refused 0 + dropped 0 + waiting 0",
        "unix packets: received 0 is not accepted 0 + refused 0 + dropped 0 + waiting 2",
    ]


def test_sentence_of_a_broken_law() -> None:
    """A broken law says all its figures."""
    counts = Counts()
    http = counts.packets[Carrier.HTTP]
    http.received, http.accepted = 20, 4
    http.refused.update({Reason.EMPTY: 3, Reason.SLOW: 2})
    http.dropped[Reason.RING_FULL] = 6
    counts.events.accepted, counts.events.stored = 9, 5

    assert counts.laws_broken({Carrier.HTTP: 1}, 3) == [
        "http packets: received 20 is not accepted 4 + refused 5 + dropped 6 + waiting 1",
        "events: accepted 9 is not settled 5 + waiting 3",
    ]


@pytest.mark.parametrize("fate", ["stored", "merged", "repeated", "folded", "dead"])
def test_each_fate_of_an_event(fate: str) -> None:
    """Each fate settles an event, and settling one twice breaks the law."""
    counts = Counts()
    counts.events.accepted = 1
    setattr(counts.events, fate, 1)
    before = counts.laws_broken({}, 0)
    setattr(counts.events, fate, 2)

    assert before == []
    assert counts.laws_broken({}, 0) == ["events: accepted 1 is not settled 2 + waiting 0"]


@given(
    fates=st.dictionaries(st.sampled_from(Carrier), st.tuples(*[st.integers(0, 9)] * 4)),
    missing=st.dictionaries(st.sampled_from(Carrier), st.integers(-3, 3)),
    events=st.tuples(*[st.integers(0, 9)] * 3),
    events_missing=st.integers(-3, 3),
)
def test_laws(
    fates: dict[Carrier, tuple[int, ...]],
    missing: dict[Carrier, int],
    events: tuple[int, ...],
    events_missing: int,
) -> None:
    """A sentence is returned for each tally that does not add up, and for none else."""
    counts = Counts()
    waiting: dict[Carrier, int] = {}
    for carrier, (accepted, refused, dropped, waits) in fates.items():
        tally = counts.packets[carrier]
        tally.accepted = accepted
        tally.refused[Reason.TOO_LARGE] = refused
        tally.dropped[Reason.SHUTDOWN] = dropped
        waiting[carrier] = waits
        tally.received = accepted + refused + dropped + waits
    for carrier, difference in missing.items():
        counts.packets[carrier].received += difference
    stored, dropped_events, waits = events
    counts.events.stored = stored
    counts.events.dropped[Reason.RING_FULL] = dropped_events
    counts.events.accepted = stored + dropped_events + waits + events_missing
    wrong = {f"{carrier} packets" for carrier, difference in missing.items() if difference}
    if events_missing:
        wrong.add("events")

    assert {sentence.partition(":")[0] for sentence in counts.laws_broken(waiting, waits)} == wrong
