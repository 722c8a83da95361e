"""Offer `/metrics`: live figures, those of the store and users' series in, Prometheus text out."""

from collections.abc import Iterable, Mapping
from typing import Final

from trace_agent.core.counts import EventCounts
from trace_agent.core.errors import Reason
from trace_agent.core.rollup import Series
from trace_agent.views.exposition import Family, FamilyType, render
from trace_agent.views.figures import StoreFigures
from trace_agent.views.series import OWN_PREFIX, series_families
from trace_agent.views.stats import Live

__all__ = ["prometheus_text"]

_MS_PER_S: Final = 1000

# Attribute of `EventCounts`, what it counts.
_EVENT_COUNTERS: Final = (
    ("accepted", "Valid events."),
    ("stored", "Events that became rows."),
    ("merged", "Later sightings of a model call that has a row."),
    ("repeated", "Events whose id was stored already."),
    ("folded", "Metric samples folded into windows."),
    ("dead", "Events that SQLite refused, kept as dead letters."),
    ("text_shed", "Model calls that lost their words to make room."),
    ("ts_clamped", "Stamps from the future replaced by the arrival time."),
)


def prometheus_text(live: Live, figures: StoreFigures | None, series: Iterable[Series]) -> str:
    """Write everything there is to scrape.

    Args:
        live: the running agent.
        figures: the store, or None when it cannot be read; its families are then absent.
        series: the users' metrics.
    """
    return render(
        [
            *_process(live),
            *_packets(live),
            *_events(live),
            *_writer(live),
            *_store(figures),
            *series_families(series),
        ]
    )


def _process(live: Live) -> list[Family]:
    info = _gauge("info", "Constant 1, with the version of trace-agent.")
    info.add(1, version=live.version)
    collections = _counter("gc_collections", "Runs of Python's garbage collector.")
    for generation, count in enumerate(live.gc_collections):
        collections.add(count, generation=str(generation))
    return [
        info,
        _gauge("start_time_seconds", "Start of trace-agent, Unix time.", live.started_ms / _MS_PER_S),
        _counter("cpu_seconds", "Processor time used.", live.cpu_s),
        _gauge("resident_memory_bytes", "Memory in use, shared libraries included.", live.rss_bytes),
        _gauge("private_memory_bytes", "Memory in use by trace-agent alone.", live.private_bytes),
        collections,
        _gauge(
            "loop_lag_p99_seconds",
            "How late the event loop woke up, 99th percentile.",
            _s(live.loop_lag_p99_ms),
        ),
        _gauge(
            "loop_lag_max_seconds", "How late the event loop woke up, at worst.", _s(live.loop_lag_max_ms)
        ),
    ]


def _packets(live: Live) -> list[Family]:
    received = _counter("packets_received", "Packets taken from a socket.")
    received_bytes = _counter("packets_received_bytes", "Size of the packets taken from a socket.")
    accepted = _counter("packets_accepted", "Packets with at least one event of use.")
    refused = _counter("packets_refused", "Packets of no use.")
    dropped = _counter("packets_dropped", "Packets dropped without a look at them.")
    waiting = _gauge("packets_waiting", "Packets received and not looked at yet.")
    for carrier, counts in live.counts.packets.items():
        received.add(counts.received, carrier=carrier.value)
        received_bytes.add(counts.received_bytes, carrier=carrier.value)
        accepted.add(counts.accepted, carrier=carrier.value)
        _add_reasons(refused, counts.refused, carrier=carrier.value)
        _add_reasons(dropped, counts.dropped, carrier=carrier.value)
        waiting.add(live.packets_waiting.get(carrier, 0), carrier=carrier.value)
    kernel = _counter("kernel_dropped_packets", "Packets the kernel dropped before they could be read.")
    buffers = _gauge("receive_buffer_bytes", "What the kernel granted as receive buffer.")
    for listener in live.listeners:
        kernel.add(listener.kernel_drops, carrier=listener.carrier.value, address=listener.address)
        buffers.add(listener.receive_buffer_bytes, carrier=listener.carrier.value, address=listener.address)
    return [received, received_bytes, accepted, refused, dropped, waiting, kernel, buffers]


def _events(live: Live) -> list[Family]:
    events: EventCounts = live.counts.events
    refused = _counter("events_refused", "Events that could not be read.")
    _add_reasons(refused, events.refused)
    dropped = _counter("events_dropped", "Events accepted and then lost.")
    _add_reasons(dropped, events.dropped)
    return [
        *(_counter(f"events_{name}", text, getattr(events, name)) for name, text in _EVENT_COUNTERS),
        refused,
        dropped,
        _gauge("events_waiting", "Events accepted and not committed yet.", live.events_waiting),
        _counter(
            "client_dropped_events", "Events that clients say they dropped.", live.counts.client_dropped
        ),
        _gauge("metric_series", "Series of users' metrics.", live.series),
        _counter("metric_samples_overflowed", "Samples folded into __other__.", live.series_overflowed),
        _gauge("ring_used_bytes", "Memory held by waiting packets and events.", live.ring_used_bytes),
        _gauge(
            "ring_peak_bytes", "Most memory ever held by waiting packets and events.", live.ring_peak_bytes
        ),
        _gauge("ring_limit_bytes", "Memory that waiting packets and events may hold.", live.ring_limit_bytes),
    ]


def _writer(live: Live) -> list[Family]:
    size = _gauge("store_file_bytes", "Size of the database and its write-ahead log.")
    size.add(live.db_bytes, file="db")
    size.add(live.wal_bytes, file="wal")
    return [
        _gauge("writer_up", "1 while events are being stored, 0 while they are not.", live.stuck is None),
        _gauge("last_commit_timestamp_seconds", "Newest commit, Unix time.", _s(live.writer.last_commit_ms)),
        _counter("commits", "Transactions written.", live.writer.commits),
        _counter("store_damaged", "Damaged databases set aside.", live.writer.damaged),
        _counter("dead_windows", "Metric windows that SQLite refused.", live.writer.dead_windows),
        size,
        _gauge("store_disk_free_bytes", "Free space on the volume of the database.", live.disk_free_bytes),
    ]


def _store(figures: StoreFigures | None) -> list[Family]:
    families = [_gauge("store_up", "1 when the database can be read.", figures is not None)]
    if figures is None:
        return families
    rows = _gauge("store_rows", "Rows in the database.")
    for table, count in figures.tables.items():
        rows.add(count, table=table)
    pending = _gauge("upstream_pending_rows", "Rows that an upstream has yet to get.")
    for upstream in figures.upstreams:
        pending.add(upstream.pending, upstream=upstream.name)
    return [
        *families,
        rows,
        _counter("store_rows_stored", "Rows ever made in this database.", figures.stored),
        _counter("store_rows_pruned", "Rows removed by retention.", figures.pruned),
        _gauge("store_rows_acked", "Rows that every upstream has.", figures.acked),
        _gauge("store_rows_pending", "Rows that no upstream, or not every one, has yet.", figures.pending),
        _gauge("store_dead_letters", "Refused rows kept as dead letters.", figures.dead_letters),
        pending,
    ]


def _counter(name: str, text: str, value: float | None = None) -> Family:
    return _family(f"{name}_total", "counter", text, value)


def _gauge(name: str, text: str, value: float | None = None) -> Family:
    return _family(name, "gauge", text, value)


def _family(name: str, kind: FamilyType, text: str, value: float | None) -> Family:
    family = Family(OWN_PREFIX + name, kind, text)
    family.add(value)
    return family


def _add_reasons(family: Family, counts: Mapping[Reason, int], **labels: str) -> None:
    for reason, count in counts.items():
        family.add(count, **labels, reason=reason.value)


def _s(ms: float | None) -> float | None:
    return None if ms is None else ms / _MS_PER_S
