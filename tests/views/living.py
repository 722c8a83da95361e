"""Make `Live` figures as a running agent hands them in; a test names what matters to it."""

from collections import Counter
from pathlib import Path
from typing import Any

from attrs import evolve

from tests.views.building import NOW_MS
from trace_agent.core.counts import Carrier, Counts
from trace_agent.core.errors import Reason
from trace_agent.store.writer import WriterState
from trace_agent.views.stats import Listener, Live


def busy_counts() -> Counts:
    """Return counts whose laws hold with two events and one UDP packet waiting."""
    counts = Counts()
    udp = counts.packets[Carrier.UDP]
    udp.received, udp.accepted, udp.last_ms = 10, 5, NOW_MS - 1000
    udp.refused = Counter({Reason.BAD_JSON: 2, Reason.EMPTY: 1})
    udp.dropped = Counter({Reason.RING_FULL: 1})
    events = counts.events
    events.accepted, events.stored, events.repeated, events.folded, events.dead = 20, 11, 2, 3, 1
    events.dropped = Counter({Reason.RING_FULL: 1})
    events.refused = Counter({Reason.BAD_FIELD: 4})
    return counts


def live(**changes: Any) -> Live:  # noqa: ANN401 - any field of Live
    """Return the figures of an agent that is well, with `busy_counts`."""
    well = Live(
        version="1.2.3",
        pid=42,
        started_ms=NOW_MS - 90_000,
        now_ms=NOW_MS,
        counts=busy_counts(),
        packets_waiting={Carrier.UDP: 1},
        events_waiting=2,
        ring_used_bytes=100,
        ring_peak_bytes=200,
        ring_limit_bytes=16_000_000,
        listeners=(
            Listener(Carrier.UDP, "127.0.0.1:9090", 3, 8_388_608),
            Listener(Carrier.UDP, "[::1]:9090", None, None),
            Listener(Carrier.UNIX, "/run/agent.sock"),
        ),
        writer=WriterState(last_commit_ms=NOW_MS - 400, commits=7, in_flight=1),
        stuck=None,
        db=Path("/data/traces.db"),
        db_bytes=8192,
        wal_bytes=None,
        disk_free_bytes=10_000_000_000,
        rss_bytes=30_000_000,
        private_bytes=None,
        cpu_s=1.5,
        gc_collections=(30, 3, 0),
        loop_lag_p99_ms=1.25,
        loop_lag_max_ms=8.0,
        series=2,
        series_overflowed=0,
    )
    return evolve(well, **changes)
