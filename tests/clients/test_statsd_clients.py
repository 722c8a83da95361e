"""StatsD clients that nobody here wrote, against a real trace-agent: what they send comes back right."""

import json
import subprocess
from pathlib import Path

import pytest
import statsd  # type: ignore[import-untyped]  # it has no types
from datadog.dogstatsd.base import DogStatsd
from prometheus_client.parser import text_string_to_metric_families

from tests.running import RunningAgent

NODE_TESTS = Path(__file__).parent.parent / "node"


def prometheus(agent: RunningAgent) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Return all samples of `/metrics` by name and sorted labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(agent.get_text("/metrics"))
        for sample in family.samples
    }


def send_all_of_dogstatsd(client: DogStatsd) -> int:
    """Call every method of the client that sends; return how many packets that makes."""
    client.increment("page.views")
    client.increment("page.views", 5)
    client.decrement("page.views", 2)
    client.increment("page.views", 3, tags=["route:/a", "method:GET"])
    client.count("sampled", 4, sample_rate=1)
    client.gauge("queue.depth", 42.5, tags=["q:main"])
    client.gauge("queue.depth", 7, tags=["q:main"])
    client.gauge("below.zero", -7)
    client.timing("db.query", 123.4)
    client.timing("db.query", 23.4)
    client.histogram("payload", 10)
    client.histogram("payload", 30)
    client.distribution("latency", 0.5)
    client.set("users", "alice")
    client.set("users", "bob")
    client.set("users", "alice")
    client.event("Deployed", "line one\nline two: ünïcode", alert_type="warning", tags=["env:test"])
    client.service_check("db.up", DogStatsd.CRITICAL, message="no\nanswer", tags=["host:a"])
    return 17


def check_all_of_dogstatsd(agent: RunningAgent) -> None:
    """Demand that every figure of `send_all_of_dogstatsd` is there, over both ways out."""
    windows = agent.metrics()
    tags = ("env:test",)
    assert windows["counter", "app.page.views", tags]["sum"] == 4
    assert windows["counter", "app.page.views", ("env:test", "method:GET", "route:/a")]["sum"] == 3
    assert windows["counter", "app.sampled", tags]["sum"] == 4
    assert windows["gauge", "app.queue.depth", ("env:test", "q:main")]["last"] == 7
    assert windows["gauge", "app.below.zero", tags]["last"] == -7
    timer = windows["timer", "app.db.query", tags]
    assert (timer["count"], timer["min"], timer["max"]) == (2, 23.4, 123.4)
    assert timer["sum"] == pytest.approx(146.8)
    assert windows["histogram", "app.payload", tags]["sum"] == 40
    assert windows["distribution", "app.latency", tags]["p50"] == pytest.approx(0.5, rel=0.01)
    assert windows["set", "app.users", tags]["unique"] == 2

    told = {event["name"]: event for event in agent.get("/v1/events")["items"]}
    assert told["Deployed"]["severity"] == "warning"
    assert "ünïcode" in json.dumps(told["Deployed"]["attributes"], ensure_ascii=False)
    assert told["service_check"]["severity"] == "error"

    samples = prometheus(agent)
    env = (("env", "test"),)
    assert samples["app_page_views_total", env] == 6
    assert samples["app_page_views_decrease_total", env] == 2
    assert samples["app_queue_depth", (("env", "test"), ("q", "main"))] == 7
    assert samples["app_db_query_seconds_count", env] == 2
    assert samples["app_db_query_seconds_sum", env] == pytest.approx(0.1468)
    assert samples["app_users", env] == 2


def test_datadog_over_udp(agent: RunningAgent) -> None:
    """Everything DogStatsd sends over UDP arrives with its value, tags and kind."""
    client = DogStatsd(
        "127.0.0.1", agent.port, namespace="app", constant_tags=["env:test"], disable_telemetry=True
    )
    packets = send_all_of_dogstatsd(client)
    client.close_socket()
    agent.settle("udp", packets)
    check_all_of_dogstatsd(agent)


def test_datadog_over_a_unix_stream(agent: RunningAgent) -> None:
    """The same calls over a Unix stream socket give the same figures."""
    client = DogStatsd(
        socket_path=f"unixstream://{agent.socket}",
        namespace="app",
        constant_tags=["env:test"],
        disable_telemetry=True,
    )
    packets = send_all_of_dogstatsd(client)
    client.close_socket()
    agent.settle("unix", packets)
    check_all_of_dogstatsd(agent)


def test_statsd_over_udp(agent: RunningAgent) -> None:
    """The classic client's counters, gauges with changes, timers, sets and pipelines come back right."""
    client = statsd.StatsClient("127.0.0.1", agent.port, prefix="plain")
    client.incr("hits")
    client.incr("hits", 10)
    client.decr("hits", 3)
    client.gauge("mem", 70)
    client.gauge("mem", 5, delta=True)
    client.gauge("mem", -3, delta=True)
    client.gauge("neg", -12)
    client.timing("resp", 320)
    client.timing("resp", 12.75)
    client.set("users", "alice")
    client.set("users", 42)
    with client.pipeline() as pipe:
        for _ in range(50):
            pipe.incr("burst")
    client.close()
    agent.settle("udp", 12)

    windows = agent.metrics()

    assert windows["counter", "plain.hits", ()]["sum"] == 8
    assert windows["gauge", "plain.mem", ()]["last"] == 72
    assert windows["gauge", "plain.neg", ()]["last"] == -12
    assert windows["timer", "plain.resp", ()]["sum"] == pytest.approx(332.75)
    assert windows["set", "plain.users", ()]["unique"] == 2
    assert windows["counter", "plain.burst", ()]["sum"] == 50
    samples = prometheus(agent)
    assert samples["plain_hits_total", ()] == 11
    assert samples["plain_hits_decrease_total", ()] == 3
    assert samples["plain_mem", ()] == 72


def test_sample_rates_are_scaled_up(agent: RunningAgent) -> None:
    """A counter that was sampled at a quarter stands for four times what was sent."""
    client = statsd.StatsClient("127.0.0.1", agent.port)
    for _ in range(400):
        client.incr("sampled", 1, rate=0.25)
    client.close()
    received = agent.get("/v1/stats")["packets"]["udp"]["received"]
    agent.settle("udp", received)

    windows = agent.metrics()

    sent = agent.get("/v1/stats")["packets"]["udp"]["received"]
    assert sent > 0
    assert windows["counter", "sampled", ()]["sum"] == 4 * sent


def test_hot_shots_over_udp(agent: RunningAgent, node: str) -> None:
    """Everything hot-shots sends from Node arrives with its value, tags and kind."""
    if not (NODE_TESTS / "node_modules" / "hot-shots").is_dir():
        pytest.fail("hot-shots is not installed: `make test` installs it, or `npm ci` in tests/node")
    done = subprocess.run(
        [node, "send_hot_shots.js", str(agent.port)],
        cwd=NODE_TESTS,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    agent.settle("udp", int(done.stdout))

    windows = agent.metrics()

    tags = ("env:test",)
    assert windows["counter", "node.page.views", tags]["sum"] == 4
    assert windows["counter", "node.page.views", ("env:test", "method:GET", "route:/a")]["sum"] == 3
    assert windows["gauge", "node.queue.depth", tags]["last"] == 12
    assert windows["timer", "node.db.query", tags]["sum"] == pytest.approx(130)
    assert windows["histogram", "node.payload", tags]["max"] == 30
    assert windows["distribution", "node.latency", tags]["count"] == 1
    assert windows["set", "node.users", tags]["unique"] == 2
    told = {event["name"]: event for event in agent.get("/v1/events")["items"]}
    assert "line two" in json.dumps(told["node.Deployed"]["attributes"])
    assert told["service_check"]["severity"] == "warning"
    assert "slow" in json.dumps(told["service_check"]["attributes"])
    samples = prometheus(agent)
    assert samples["node_page_views_total", (("env", "test"),)] == 6
    assert samples["node_page_views_decrease_total", (("env", "test"),)] == 2
