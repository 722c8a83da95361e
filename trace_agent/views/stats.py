"""Say how trace-agent itself fares: live figures and those of the store in, `/v1/stats` and `/health` out."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from attrs import frozen

from trace_agent.core.counts import Carrier, Counts, PacketCounts
from trace_agent.store.writer import WriterState
from trace_agent.views.figures import StoreFigures
from trace_agent.views.rows import JsonMap

__all__ = ["Listener", "Live", "Problem", "health_json", "problems_of", "stats_json"]

# What SQLite says to SQLITE_FULL (sqlite.org/rescode.html#full) ends like this.
_FULL: Final = "disk is full"


@frozen
class Listener:
    """A socket that events come in by.

    Attributes:
        carrier: what it carries.
        address: the real one, `127.0.0.1:9090` or a path.
        kernel_drops: datagrams that the kernel dropped before we could read them; None where it cannot tell.
        receive_buffer_bytes: what the kernel granted; None where it does not matter.
    """

    carrier: Carrier
    address: str
    kernel_drops: int | None = None
    receive_buffer_bytes: int | None = None


@frozen
class Live:
    """What only the running agent knows, at one moment. None: this machine cannot tell.

    Attributes:
        started_ms: Unix milliseconds.
        now_ms: Unix milliseconds, when this was taken.
        packets_waiting: received and not judged yet.
        events_waiting: accepted and not committed yet, the ones in the writer's hands included.
        ring_used_bytes: packets and events together.
        stuck: why nothing is being stored at present, or None.
        disk_free_bytes: on the volume of the database.
        private_bytes: memory that is ours alone, as against shared libraries.
        cpu_s: user and system time since the start.
        gc_collections: by generation, youngest first.
        loop_lag_p99_ms: how late the event loop woke up, lately.
        series: metric series there are.
        series_overflowed: samples that went to `__other__` because there are too many series.
    """

    version: str
    pid: int
    started_ms: int
    now_ms: int
    counts: Counts
    packets_waiting: Mapping[Carrier, int]
    events_waiting: int
    ring_used_bytes: int
    ring_peak_bytes: int
    ring_limit_bytes: int
    listeners: tuple[Listener, ...]
    writer: WriterState
    stuck: str | None
    db: Path
    db_bytes: int | None
    wal_bytes: int | None
    disk_free_bytes: int | None
    rss_bytes: int | None
    private_bytes: int | None
    cpu_s: float
    gc_collections: tuple[int, ...]
    loop_lag_p99_ms: float | None
    loop_lag_max_ms: float | None
    series: int
    series_overflowed: int

    @property
    def uptime_s(self) -> float:
        """Return seconds since the start, by the wall clock."""
        return max(0, self.now_ms - self.started_ms) / 1000

    def kernel_drops(self, carrier: Carrier | None = None) -> int:
        """Return what the kernel dropped, as far as it tells, for one carrier or all."""
        return sum(
            listener.kernel_drops or 0
            for listener in self.listeners
            if carrier is None or listener.carrier is carrier
        )


@frozen
class Problem:
    """Why `/health` says 503.

    Attributes:
        code: one word for programs.
        message: a sentence for people.
    """

    code: str
    message: str


def problems_of(live: Live, store_error: str | None) -> list[Problem]:
    """Judge whether trace-agent does its work.

    Args:
        live: the writer's side.
        store_error: why the last look into the database failed, or None.
    """
    problems = []
    if live.stuck is not None:
        full = _FULL in live.stuck
        problems.append(
            Problem(
                "disk_full" if full else "writer_stuck",
                f"nothing is being stored: {live.stuck}; {live.events_waiting} events wait",
            )
        )
    if store_error is not None:
        problems.append(Problem("store_unreadable", store_error))
    return problems


def health_json(live: Live, problems: list[Problem]) -> JsonMap:
    """Build the answer of `/health`: with status 200 when there is no problem, 503 when there is.

    It holds an `error` as every failing answer does: the first problem.
    """
    answer: JsonMap = {
        "status": "failing" if problems else "ok",
        "version": live.version,
        "pid": live.pid,
        "uptime_s": live.uptime_s,
        "events_waiting": live.events_waiting,
        "last_commit_ms": live.writer.last_commit_ms,
    }
    if problems:
        shown: list[JsonMap] = [{"code": problem.code, "message": problem.message} for problem in problems]
        answer["error"] = shown[0]
        answer["problems"] = [*shown]
    return answer


def stats_json(live: Live, figures: StoreFigures | None, store_error: str | None) -> JsonMap:
    """Build the answer of `/v1/stats`.

    Args:
        live: the running agent.
        figures: the store, or None when it cannot be read.
        store_error: why not.
    """
    return {
        "packets": {
            carrier.value: _packets_json(live, carrier, counts)
            for carrier, counts in live.counts.packets.items()
        },
        "events": _events_json(live),
        "rows": None if figures is None else figures.rows_json(),
        "kernel_drops": live.kernel_drops(),
        "dead_letters": None if figures is None else figures.dead_letters,
        "upstreams": [] if figures is None else [*figures.upstreams_json()],
        "laws": _laws_json(live, figures),
        "self": _self_json(live, store_error),
    }


def _packets_json(live: Live, carrier: Carrier, counts: PacketCounts) -> JsonMap:
    return {
        "received": counts.received,
        "received_bytes": counts.received_bytes,
        "accepted": counts.accepted,
        "refused": {reason.value: count for reason, count in counts.refused.items()},
        "dropped": {reason.value: count for reason, count in counts.dropped.items()},
        "waiting": live.packets_waiting.get(carrier, 0),
        "kernel_drops": live.kernel_drops(carrier),
        "last_ms": counts.last_ms,
    }


def _events_json(live: Live) -> JsonMap:
    events = live.counts.events
    return {
        "accepted": events.accepted,
        "refused": {reason.value: count for reason, count in events.refused.items()},
        "stored": events.stored,
        "merged": events.merged,
        "repeated": events.repeated,
        "folded": events.folded,
        "dead": events.dead,
        "dropped": {reason.value: count for reason, count in events.dropped.items()},
        "waiting": live.events_waiting,
        "text_shed": events.text_shed,
        "ts_clamped": events.ts_clamped,
        "client_dropped": live.counts.client_dropped,
    }


def _laws_json(live: Live, figures: StoreFigures | None) -> JsonMap:
    """Return for each law whether it holds, and a sentence for each that does not."""
    broken = live.counts.laws_broken(dict(live.packets_waiting), live.events_waiting)
    events = live.counts.events
    if figures is not None and not figures.law_holds:
        broken.append(
            f"rows: stored {figures.stored} is not acked {figures.acked} + pending {figures.pending}"
            f" + pruned {figures.pruned}"
        )
    return {
        "packets": all(
            counts.received == counts.settled + live.packets_waiting.get(carrier, 0)
            for carrier, counts in live.counts.packets.items()
        ),
        "events": events.accepted == events.settled + live.events_waiting,
        "rows": None if figures is None else figures.law_holds,
        "broken": [*broken],
    }


def _self_json(live: Live, store_error: str | None) -> JsonMap:
    return {
        "version": live.version,
        "pid": live.pid,
        "started_ms": live.started_ms,
        "uptime_s": live.uptime_s,
        "rss_bytes": live.rss_bytes,
        "private_bytes": live.private_bytes,
        "cpu_s": live.cpu_s,
        "gc_collections": [*live.gc_collections],
        "loop_lag_ms": {"p99": live.loop_lag_p99_ms, "max": live.loop_lag_max_ms},
        "ring": {
            "used_bytes": live.ring_used_bytes,
            "peak_bytes": live.ring_peak_bytes,
            "limit_bytes": live.ring_limit_bytes,
        },
        "metrics": {"series": live.series, "overflowed": live.series_overflowed},
        "listeners": [
            {
                "carrier": listener.carrier.value,
                "address": listener.address,
                "kernel_drops": listener.kernel_drops,
                "receive_buffer_bytes": listener.receive_buffer_bytes,
            }
            for listener in live.listeners
        ],
        "writer": {
            "last_commit_ms": live.writer.last_commit_ms,
            "commits": live.writer.commits,
            "in_flight": live.writer.in_flight,
            "dead_windows": live.writer.dead_windows,
            "damaged": live.writer.damaged,
            "stuck": live.stuck,
        },
        "store": {
            "path": str(live.db.absolute()),
            "db_bytes": live.db_bytes,
            "wal_bytes": live.wal_bytes,
            "disk_free_bytes": live.disk_free_bytes,
            "error": store_error,
        },
    }
