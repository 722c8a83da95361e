"""What three real clients sent comes to what their programs counted.

Each capture has the calls that a program made (`truth.json`) and the bytes that its client made of them
(`packets.jsonl`). The calls are added up here by hand; packets go through dialect and rollup.
"""

import base64
import json
import math
import struct
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest
from attrs import Factory, define, frozen

from trace_agent.core.events import Event, Metric, MetricKind, Severity
from trace_agent.core.fields import EventReader
from trace_agent.core.rollup import Rollup, Window
from trace_agent.dialects.statsd import read_packets

CAPTURES: Final = Path(__file__).parent.parent / "captures" / "statsd"
STAMP_MS: Final = 1_795_370_000_000.0
COUNTER: Final = MetricKind.COUNTER
GAUGE: Final = MetricKind.GAUGE
SET: Final = MetricKind.SET

Key = tuple[MetricKind, str, tuple[str, ...]]


@frozen
class Call:
    """A call of a client: `client.method(*args, **options)`."""

    method: str
    args: list[object]
    options: dict[str, object] = Factory(dict)

    def number(self, index: int, default: float) -> float:
        """Return an argument that is a number."""
        value = self.args[index] if index < len(self.args) else default
        assert isinstance(value, int | float)
        return value


@define
class Truth:
    """What the calls of a program amount to.

    Attributes:
        counts: sum of each counter.
        gauges: last value of each.
        numbers: values of each timer, histogram and distribution; None where the client measured it.
        members: of each set.
        sampled: series of which chance left out samples, with the value of each call and the rate.
        stamped: series whose samples carry the time `STAMP_MS`.
        checks: name, status and message of each service check.
        titles: of each event.
    """

    counts: defaultdict[Key, float] = Factory(lambda: defaultdict(float))
    gauges: dict[Key, float] = Factory(dict)
    numbers: defaultdict[Key, list[float | None]] = Factory(lambda: defaultdict(list))
    members: defaultdict[Key, set[str]] = Factory(lambda: defaultdict(set))
    sampled: dict[Key, tuple[float, float]] = Factory(dict)
    stamped: set[Key] = Factory(set)
    checks: list[tuple[str, float, str | None]] = Factory(list)
    titles: list[str] = Factory(list)

    def keys(self) -> set[Key]:
        """Return all series that are certain to have arrived."""
        return {*self.counts, *self.gauges, *self.numbers, *self.members}


@frozen
class Replayed:
    """What came of a capture.

    Attributes:
        last: of each gauge.
    """

    windows: dict[Key, list[Window]]
    last: dict[Key, float | None]
    events: list[Event]


def calls(capture: str) -> list[Call]:
    """Return the calls of a capture's program."""
    truth = json.loads((CAPTURES / capture / "truth.json").read_text())
    return [Call(call["m"], call["a"], call.get("kw", {})) for call in truth["calls"]]


def packets(capture: str) -> Iterator[tuple[float, bytes]]:
    """Yield each packet with its time in Unix milliseconds; frames of a stream are cut out."""
    streams: defaultdict[int, bytes] = defaultdict(bytes)
    for line in (CAPTURES / capture / "packets.jsonl").read_text().splitlines():
        record = json.loads(line)
        data = base64.b64decode(record["b64"])
        if record["kind"] == "udp":
            yield record["t"] * 1000, data
            continue
        stream = streams[record["conn"]] + data
        while len(stream) >= 4 and len(stream) >= 4 + struct.unpack_from("<I", stream)[0]:
            end = 4 + struct.unpack_from("<I", stream)[0]
            yield record["t"] * 1000, stream[4:end]
            stream = stream[end:]
        streams[record["conn"]] = stream
    assert not any(streams.values())


def replay(capture: str, together: int) -> Replayed:
    """Feed a capture to dialect and rollup, so many packets at a time, and drain after each time."""
    reader = EventReader(new_id=lambda _: "id", clamped=lambda: pytest.fail("nothing is from the future"))
    numbers = iter(range(1_000_000))
    rollup = Rollup(max_series=10_000, new_id=lambda _: f"window-{next(numbers)}")
    rows: dict[str, Window] = {}
    events: list[Event] = []
    captured = list(packets(capture))
    for start in range(0, len(captured), together):
        part = captured[start : start + together]
        batch = read_packets([packet for _, packet in part], part[0][0], reader, "udp")
        assert (batch.refused, batch.bad_lines) == ({}, {})
        for event in batch.events:
            if isinstance(event, Metric):
                rollup.add(event)
            else:
                assert isinstance(event, Event)
                events.append(event)
        rows |= {window.id: window for window in rollup.drain(part[0][0])}
    windows: defaultdict[Key, list[Window]] = defaultdict(list)
    for window in rows.values():
        windows[window.kind, window.name, window.tags].append(window)
    last = {(series.kind, series.name, series.tags): series.last for series in rollup.series()}
    return Replayed(dict(windows), last, events)


def series(kind: MetricKind, name: str, *tags: str) -> Key:
    """Return the key of a series."""
    return kind, name, tuple(sorted(set(tags)))


def datadog_truth(capture: str) -> Truth:
    """Add up the calls of datadog's client, which replaces `|`, `,`, `#`, newlines and some emoji in tags."""
    truth = Truth()
    clean = {
        "path:/a|b,c#d:e": "path:/a_b_c_d:e",
        "emoji:caf\u00e9\u2603": "emoji:caf\u00e9_",
        "nl:a\nb": "nl:a_b",
    }
    kinds = {
        "timing": MetricKind.TIMER,
        "timed ctx": MetricKind.TIMER,
        "distributed ctx": MetricKind.DISTRIBUTION,
        "histogram": MetricKind.HISTOGRAM,
        "distribution": MetricKind.DISTRIBUTION,
    }
    for call in calls(capture):
        given = call.options.get("tags", [])
        assert isinstance(given, list)
        name = f"pyapp.{call.args[0]}"
        tags = ["env:test", "service:shop", *(clean.get(str(tag), str(tag)) for tag in given)]
        rate = call.options.get("sample_rate", 1)
        match call.method:
            case "service_check":
                message = call.options.get("message")
                truth.checks.append((str(call.args[0]), call.number(1, 0), str(message) if message else None))
            case "event":
                truth.titles.append(str(call.args[0]))
            case method if isinstance(rate, float):
                key = series(kinds.get(method, COUNTER), name, *tags)
                truth.sampled[key] = (call.number(1, 1), rate)
            case "increment" | "count" | "decrement" | "count_with_timestamp" as method:
                sign = -1 if method == "decrement" else 1
                truth.counts[series(COUNTER, name, *tags)] += sign * call.number(1, 1)
            case "gauge" | "gauge_with_timestamp":
                truth.gauges[series(GAUGE, name, *tags)] = call.number(1, 0)
            case "set":
                truth.members[series(SET, name, *tags)].add(str(call.args[1]))
            case method:
                value = call.number(1, 0) if len(call.args) > 1 else None
                truth.numbers[series(kinds[method], name, *tags)].append(value)
        if call.method.endswith("_with_timestamp"):
            truth.stamped.add(series(COUNTER if "count" in call.method else GAUGE, name, *tags))
    return truth


def hot_shots_truth(capture: str) -> Truth:
    """Add up the calls of hot-shots, which tells arguments by their kinds and cleans names and tags."""
    truth = Truth()
    clean = {"path:/a|b,c#d:e": "path:/a_b_c_d:e", "nl:a\nb": "nl:a_b"}
    kinds = {
        "timing": MetricKind.TIMER,
        "timer": MetricKind.TIMER,
        "histogram": MetricKind.HISTOGRAM,
        "distribution": MetricKind.DISTRIBUTION,
    }
    for call in calls(capture):
        first, *rest = call.args
        tags, stamped = _hot_shots_tags(rest[1:])
        tags = ["env:test", "service:shop", *(clean.get(tag, tag) for tag in tags)]
        for given in first if isinstance(first, list) else [first]:
            name = "myapp." + str(given).replace(":", "_").replace("|", "_")
            match call.method:
                case "check":
                    options = next((each for each in rest if isinstance(each, dict)), {})
                    truth.checks.append((name, call.number(1, 0), options.get("message")))
                case "event":
                    truth.titles.append(name)
                case "increment" if 0.25 in rest:
                    truth.sampled[series(COUNTER, name, *tags)] = (call.number(1, 1), 0.25)
                case "increment" | "decrement" as method:
                    sign = -1 if method == "decrement" else 1
                    truth.counts[series(COUNTER, name, *tags)] += sign * call.number(1, 1)
                case "childClient.increment":
                    truth.counts[series(COUNTER, f"child.{name}", *tags, "child:yes")] += 1
                case "gauge":
                    truth.gauges[series(GAUGE, name, *tags)] = call.number(1, 0)
                case "gaugeDelta":
                    key = series(GAUGE, name, *tags)
                    truth.gauges[key] = truth.gauges.get(key, 0) + call.number(1, 0)
                case "set" | "unique":
                    truth.members[series(SET, name, *tags)].add(str(rest[0]))
                case method:
                    measured = method == "timer" or isinstance(rest[0], dict)
                    truth.numbers[series(kinds[method], name, *tags)].append(
                        None if measured else call.number(1, 0)
                    )
            if stamped:
                truth.stamped.add(series(GAUGE if call.method == "gauge" else COUNTER, name, *tags))
    return truth


def _hot_shots_tags(arguments: Sequence[object]) -> tuple[list[str], bool]:
    """Return the tags among the arguments, and whether a time is."""
    tags: list[str] = []
    stamped = False
    for argument in arguments:
        if isinstance(argument, list):
            tags += argument
        elif isinstance(argument, dict) and "timestamp" in argument:
            stamped = True
            tags += argument.get("tags", [])
        elif isinstance(argument, dict):
            tags += [f"{key}:{value}" for key, value in argument.items()]
    return tags, stamped


def statsd_truth(capture: str) -> Truth:
    """Add up the calls of the plain client."""
    truth = Truth()
    for call in calls(capture):
        name = f"plain.{call.args[0]}"
        match call.method:
            case "incr" if len(call.args) == 3:
                truth.sampled[series(COUNTER, name)] = (call.number(1, 1), call.number(2, 1))
            case "incr":
                truth.counts[series(COUNTER, name)] += call.number(1, 1)
            case "decr":
                truth.counts[series(COUNTER, name)] -= call.number(1, 1)
            case "gauge":
                before = truth.gauges.get(series(GAUGE, name), 0) if call.options.get("delta") else 0
                truth.gauges[series(GAUGE, name)] = before + call.number(1, 0)
            case "set":
                truth.members[series(SET, name)].add(str(call.args[1]))
            case "timer ctx":
                truth.numbers[series(MetricKind.TIMER, name)].append(None)
            case _:
                value = 250.0 if call.args[1] == "0:00:00.250000" else call.number(1, 0)
                truth.numbers[series(MetricKind.TIMER, name)].append(value)
    return truth


TRUTHS: Final = {
    "datadog-py-udp-plain": datadog_truth,
    "datadog-py-unixstream-plain": datadog_truth,
    "hotshots-udp-plain": hot_shots_truth,
    "statsd-py-udp": statsd_truth,
}
SEVERITIES: Final = {0: Severity.INFO, 1: Severity.WARNING, 2: Severity.ERROR, 3: Severity.WARNING}


@pytest.mark.parametrize("together", [1, 7, 1_000])
@pytest.mark.parametrize("capture", TRUTHS)
def test_metrics_are_what_the_program_counted(capture: str, together: int) -> None:
    """Sums, last values, timings and members are those of the calls, however packets come together."""
    truth = TRUTHS[capture](capture)
    replayed = replay(capture, together)

    assert truth.keys() == replayed.windows.keys() - truth.sampled.keys()
    for key, total in truth.counts.items():
        assert math.isclose(total, sum(window.sum or 0 for window in replayed.windows[key])), key
    for key, value in truth.gauges.items():
        assert value == replayed.last[key], key
    for key, members in truth.members.items():
        assert len(members) == max(window.members or 0 for window in replayed.windows[key]), key
    for key, values in truth.numbers.items():
        windows = replayed.windows[key]
        assert len(values) == sum(window.count for window in windows), key
        if None not in values:
            known = [value for value in values if value is not None]
            assert math.isclose(sum(known), sum(window.sum or 0 for window in windows)), key
            assert min(known) == min(window.min or 0 for window in windows), key
            assert max(known) == max(window.max or 0 for window in windows), key


@pytest.mark.parametrize("capture", TRUTHS)
def test_sampled_metrics_are_scaled(capture: str) -> None:
    """Each sample that chance let through stands for 1/rate calls."""
    truth = TRUTHS[capture](capture)
    replayed = replay(capture, 1_000)
    text = b"\n".join(packet for _, packet in packets(capture))

    assert truth.sampled
    for (kind, name, tags), (value, rate) in truth.sampled.items():
        arrived = len(
            [line for line in text.split(b"\n") if line.startswith(name.encode()) and b"|@" in line]
        )
        windows = replayed.windows.get((kind, name, tags), [])
        assert arrived / rate == sum(window.count for window in windows)
        assert arrived * value / rate == sum(window.sum or 0 for window in windows)


@pytest.mark.parametrize("capture", TRUTHS)
def test_stamped_metrics_are_of_their_time(capture: str) -> None:
    """Samples that carry a time are in the window of that time, all others in those of the capture."""
    truth = TRUTHS[capture](capture)
    for key, windows in replay(capture, 1_000).windows.items():
        assert (key in truth.stamped) == all(window.ts_ms == STAMP_MS for window in windows), key


@pytest.mark.parametrize("capture", TRUTHS)
def test_notices_are_events(capture: str) -> None:
    """Service checks and events arrive in order, with status, message, title and text."""
    truth = TRUTHS[capture](capture)
    events = replay(capture, 1_000).events
    checks = [event for event in events if event.name == "service_check"]
    others = [event for event in events if event.name != "service_check"]

    assert len(truth.checks) == len(checks)
    for event, (name, status, message) in zip(checks, truth.checks, strict=True):
        attributes = json.loads(event.attributes or "{}")
        assert (name, message) == (attributes["check"], attributes.get("message"))
        assert event.severity is SEVERITIES[int(status)]
    assert truth.titles == [event.name for event in others]


@pytest.mark.parametrize("capture", [name for name in TRUTHS if "statsd-py" not in name])
def test_an_event_with_everything(capture: str) -> None:
    """All optional fields of an event arrive, unescaped, and its time is the sender's."""
    event = next(event for event in replay(capture, 1).events if "Deploy" in event.name)
    attributes = json.loads(event.attributes or "{}")
    tags = attributes.pop("tags")

    assert attributes == {
        "text": "version 1.2\nsecond line | pipe",
        "hostname": "h1",
        "aggregation_key": "dep",
        "priority": "low",
        "source_type_name": "ci",
        "alert_type": "success",
    }
    assert sorted(tags) == ["env:test", "service:shop", "team:core"]
    assert (event.ts_ms, event.severity) == (STAMP_MS, Severity.INFO)
