"""Read StatsD packets, with DogStatsD's additions: packets of text in, metrics and events out.

Most lines of a busy sender repeat, so lines are counted first, in C, and each different one is read once.
What one line says: `statsd_lines` (samples), `dogstatsd` (events and service checks).
"""

from collections import Counter
from collections.abc import Sequence

from attrs import evolve, frozen

from trace_agent.core.errors import EventError, Reason
from trace_agent.core.events import AnyEvent, Metric, MetricKind
from trace_agent.core.fields import EventReader
from trace_agent.dialects.dogstatsd import NOTICES, line_end, read_notice
from trace_agent.dialects.statsd_lines import read_samples

__all__ = ["Batch", "read_line", "read_packets", "split"]


@frozen
class Batch:
    """What a number of packets came to.

    Attributes:
        events: gauges stand in the order in which their values must be applied; of other metrics, equal
            samples are one `Metric` with `times`.
        accepted: how many samples and events that is.
        refused: index and reason of each packet without a single good line.
        bad_lines: lines that were refused, in whatever packet, by reason.
    """

    events: list[AnyEvent]
    accepted: int
    refused: dict[int, Reason]
    bad_lines: Counter[Reason]


def read_packets(packets: Sequence[bytes], now_ms: float, reader: EventReader, seen_by: str) -> Batch:
    """Read packets that came together.

    Args:
        packets: StatsD text, each packet whole.
        now_ms: when they came, Unix milliseconds.
        reader: makes the events of `_e` and `_sc`, and is told of stamps from the future.
        seen_by: the input that brought them.
    """
    lines, counted = _lines(packets)
    del counted[""]
    events: list[AnyEvent] = []
    gauges: dict[str, list[Metric]] = {}
    bad: dict[str, Reason] = {}
    accepted = 0
    tags: dict[str, tuple[str, ...]] = {}
    for line, times in counted.items():
        try:
            if line[0] == "_" and line.startswith(NOTICES):
                fields = read_notice(line)
                events += [reader.read(fields, now_ms, seen_by, "event") for _ in range(times)]
                accepted += times
                continue
            metrics = read_samples(line, times, now_ms, reader, tags)
        except EventError as error:
            bad[line] = error.reason
            continue
        accepted += times * len(metrics)
        if metrics[0].kind is MetricKind.GAUGE:
            gauges[line] = metrics
        else:
            events += metrics
    if gauges:
        events += _in_order(lines, gauges)
    bad_lines: Counter[Reason] = Counter()
    for line, reason in bad.items():
        bad_lines[reason] += counted[line]
    return Batch(events, accepted, _refused(packets, bad), bad_lines)


def read_line(line: str, now_ms: float, reader: EventReader, seen_by: str) -> list[AnyEvent]:
    """Read one line that `split` returned; several values make several metrics.

    Raises:
        EventError: the line cannot be read.
    """
    if line.startswith(NOTICES):
        return [reader.read(read_notice(line), now_ms, seen_by, "event")]
    return [*read_samples(line, 1, now_ms, reader, {})]


def split(packet: str) -> list[str]:
    r"""Return the lines of a packet without empty ones; a line of `_e` or `_sc` may hold newlines.

    Args:
        packet: text, undecodable bytes as surrogates (`surrogateescape`). Lines end with \n or \r\n.
    """
    if "_sc|" not in packet and "_e{" not in packet:
        return [line for piece in packet.split("\n") if (line := piece.removesuffix("\r"))]
    lines = []
    start = 0
    while start < len(packet):
        end = line_end(packet, start)
        if line := packet[start:end].removesuffix("\r"):
            lines.append(line)
        start = end + 1
    return lines


def _decoded(packet: bytes) -> str:
    return packet.decode("utf-8", "surrogateescape")


def _lines(packets: Sequence[bytes]) -> tuple[list[str], Counter[str]]:
    """Return the lines of all packets, and how often each one comes; some may be empty."""
    text = _decoded(b"\n".join((*packets, b"")))
    if "\r" in text:
        text = text.replace("\r\n", "\n")
    lines = text.split("\n")
    counted = Counter(lines)
    if any(line.startswith(NOTICES) for line in counted):  # these go on over newlines, but not over packets
        lines = [line for packet in packets for line in split(_decoded(packet))]
        counted = Counter(lines)
    return lines, counted


def _in_order(lines: list[str], gauges: dict[str, list[Metric]]) -> list[Metric]:
    """Return the metrics of gauges such that each gauge ends with the value that came last."""
    if any(metric.delta for metrics in gauges.values() for metric in metrics):
        once = {line: [evolve(metric, times=1) for metric in metrics] for line, metrics in gauges.items()}
        return [metric for line in lines if line in once for metric in once[line]]
    latest_first = dict.fromkeys(line for line in reversed(lines) if line in gauges)
    return [metric for line in reversed(latest_first) for metric in gauges[line]]


def _refused(packets: Sequence[bytes], bad: dict[str, Reason]) -> dict[int, Reason]:
    refused: dict[int, Reason] = {}
    if not bad and all(packets) and not any(map(bytes.isspace, packets)):
        return refused
    for index, packet in enumerate(packets):
        lines = split(_decoded(packet))
        if not lines:
            refused[index] = Reason.EMPTY
        elif all(line in bad for line in lines):
            refused[index] = bad[lines[0]]
    return refused
