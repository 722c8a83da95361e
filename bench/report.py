"""Judge a load and print it: what was sent, counted and found in; figures, broken laws and a table out."""

import contextlib
import sqlite3
from collections.abc import Mapping
from pathlib import Path

from attrs import frozen

from bench.agent import Memory
from bench.blocks import Recipe
from bench.probes import Probes, percentile
from bench.senders import Sent
from bench.tally import Tally

__all__ = ["Figures", "Outcome", "broken_laws", "count_rows", "figures", "table"]

Figures = dict[str, "dict[str, int | float | str | None]"]
_MIB = 1024 * 1024
_UNKNOWN = Memory(None, None, None)


@frozen
class Outcome:
    """All that one load yielded.

    Attributes:
        carrier: `udp`, `unix` or `http`.
        sent: what the senders say.
        event_bytes: size of one event on the wire.
        probes: what was seen meanwhile.
        tally: trace-agent's own counters, from before the load to after it.
        kernel_drops: drops at our port as the kernel's own table has them.
        backlog_drops: packets that a CPU's input queue dropped, whoever they were for.
        rows: what `count_rows` found after the end; None if the database was not ours from its start.
        cpu_s: CPU seconds of trace-agent during the load and until all was stored.
        cpu_wait_s: how long it was ready to run meanwhile, and others had the CPUs.
        idle_memory: before the load.
        end_memory: after it.
        settled_s: from the last packet until nothing waited any more.
    """

    carrier: str
    recipe: Recipe
    sent: Sent
    event_bytes: float
    probes: Probes
    tally: Tally
    kernel_drops: int
    backlog_drops: int
    rows: int | None
    cpu_s: float | None
    cpu_wait_s: float | None
    idle_memory: Memory | None
    end_memory: Memory | None
    settled_s: float


def count_rows(database: Path) -> int:
    """Count by SQL all events in a database, and the samples in its metric rows."""
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        tables = ("llm", "events", "errors")
        counts = [connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in tables]
        samples = connection.execute("SELECT coalesce(sum(count), 0) FROM metrics").fetchone()[0]
    return int(sum(counts) + samples)


def broken_laws(outcome: Outcome) -> list[str]:
    """Return a sentence for each law that does not hold over this load.

    Besides the laws of CONTRACT section 4, the links that only a sender and the database can prove:
    sent = received + kernel drops, each event of an accepted packet is accepted, each stored one is a row.
    """
    sent, tally, carrier = sent_packets(outcome), outcome.tally, outcome.carrier
    packets, events = tally.packets[carrier], tally.events
    broken = tally.broken()
    lost = outcome.kernel_drops if carrier == "udp" else 0
    if sent != packets.received + lost:
        broken.append(f"{carrier}: sent {sent} is not received {packets.received} + kernel drops {lost}")
    if tally.kernel_drops != outcome.kernel_drops:
        broken.append(f"kernel drops: {tally.kernel_drops} reported, {outcome.kernel_drops} by the kernel")
    markers = tally.packets["http"].accepted
    accepted = packets.accepted - outcome.sent.hellos
    if carrier == "http":
        accepted = outcome.sent.answers[202]
        markers -= accepted
        if outcome.sent.accepted != accepted * outcome.recipe.batch:
            broken.append(f"http: {accepted} answers 202 called {outcome.sent.accepted} events accepted")
    if events.accepted != accepted * outcome.recipe.batch + markers:
        broken.append(
            f"events: {events.accepted} accepted from {accepted} packets of {outcome.recipe.batch}"
            f" and {markers} markers"
        )
    kept = events.stored + events.folded
    if outcome.rows is not None and outcome.rows != kept:
        broken.append(f"rows: {outcome.rows} found by SQL, {kept} counted as stored or folded")
    return broken


def sent_packets(outcome: Outcome) -> int:
    """Return how many packets trace-agent should have seen on the load's carrier."""
    extra = outcome.probes.markers if outcome.carrier == "http" else outcome.sent.hellos
    return outcome.sent.packets + extra


def figures(outcome: Outcome) -> Figures:
    """Lay out all numbers by group, ready for JSON."""
    sent, tally, probes = outcome.sent, outcome.tally, outcome.probes
    packets, events = tally.packets[outcome.carrier], tally.events
    busy_s = sent.seconds + outcome.settled_s
    kept = events.stored + events.merged + events.repeated + events.folded
    cpu = None if outcome.cpu_s is None or not kept else outcome.cpu_s / kept * 1e6
    handled = packets.received or 1
    before, after = outcome.idle_memory or _UNKNOWN, outcome.end_memory or _UNKNOWN
    peak = probes.peak_memory or _UNKNOWN
    result: Figures = {
        "sent": {
            "packets": sent_packets(outcome),
            "events": sent.packets * outcome.recipe.batch + probes.markers,
            "event_bytes": round(outcome.event_bytes, 1),
            "seconds": round(sent.seconds, 3),
            "packets_per_s": round(sent.packets / (sent.seconds or 1)),
            "behind_pace_max_ms": _ms(sent.late_s),
        },
        "packets": {
            "received": packets.received,
            "accepted": packets.accepted,
            "refused": _named(packets.refused),
            "dropped_in_ring": _named(packets.dropped),
            "dropped_in_kernel": outcome.kernel_drops,
            "dropped_in_backlog": outcome.backlog_drops,
        },
        "events": {
            "accepted": events.accepted,
            "refused": _named(events.refused),
            "stored": events.stored,
            "merged": events.merged,
            "repeated": events.repeated,
            "folded": events.folded,
            "dead": events.dead,
            "dropped": _named(events.dropped),
            "found_by_sql": outcome.rows,
            "kept_per_s": round(kept / (busy_s or 1)),
            "drained_after_s": round(outcome.settled_s, 3),
        },
        "cpu": {
            "seconds": _round(outcome.cpu_s),
            "waited_for_cpu_s": _round(outcome.cpu_wait_s),
            "share_of_core": None if outcome.cpu_s is None else round(outcome.cpu_s / (busy_s or 1), 3),
            "seconds_per_million_events": _round(cpu),
            "seconds_per_million_packets": None
            if outcome.cpu_s is None
            else _round(outcome.cpu_s / handled * 1e6),
        },
        "memory_mib": {
            "rss_before": _mib(before.rss),
            "rss_peak": _mib(probes.peak_rss),
            "rss_after": _mib(after.rss),
            "private_before": _mib(before.private),
            "private_peak": _mib(peak.private),
            "private_after": _mib(after.private),
        },
        "latency_ms": {
            "commit_p50": _ms(percentile(probes.commit_s, 0.5)),
            "commit_p99": _ms(percentile(probes.commit_s, 0.99)),
            "markers": probes.markers,
            "markers_refused": probes.markers_refused,
            "health_p50": _ms(percentile(probes.health_s, 0.5)),
            "health_p99": _ms(percentile(probes.health_s, 0.99)),
            "health_max": _ms(max(probes.health_s, default=None)),
            "health_failures": len(probes.health_failures),
        },
    }
    if outcome.carrier == "unix":
        result["sender_waits"] = {
            "times": sent.waits,
            "longest_ms": _ms(sent.longest_wait_s),
            "share_of_time": round(sent.waited_s / (sent.seconds or 1), 3),
        }
    if outcome.carrier == "http":
        result["http"] = {
            "answers": _named({str(status): count for status, count in sorted(sent.answers.items())}),
            "accepted": sent.accepted,
            "rejected": sent.rejected,
            "answer_p50_ms": _ms(percentile(sent.answer_s, 0.5)),
            "answer_p99_ms": _ms(percentile(sent.answer_s, 0.99)),
        }
    return result


def table(groups: Figures) -> str:
    """Lay out figures for a person: a group a block, two columns."""
    width = max(len(name) for group in groups.values() for name in group)
    lines = []
    for title, group in groups.items():
        lines.append(title)
        for name, value in group.items():
            shown = "-" if value is None else f"{value:,}" if isinstance(value, int | float) else value
            lines.append(f"  {name:<{width}}  {shown:>14}")
    return "\n".join(lines)


def _named(values: Mapping[str, int]) -> str | int:
    return " ".join(f"{name}={count}" for name, count in values.items() if count) or 0


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 2)


def _mib(size: int | None) -> float | None:
    return None if size is None else round(size / _MIB, 1)


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
