"""`trace-agent doctor`: what is well, what is not, and what to do about it."""

import json
import socket
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from tests.running import RunningAgent, running_agent
from tests.views.building import NOW_MS, StoreBuilder
from tests.views.commanding import command
from tests.views.serving import answering
from tests.views.test_status import answers
from trace_agent.core.counts import Carrier
from trace_agent.core.settings import Address, Mode, Settings
from trace_agent.views.doctor import run_doctor
from trace_agent.views.stats import Listener


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[RunningAgent]:
    """A trace-agent in a process of its own."""
    with running_agent(tmp_path) as running:
        yield running


@pytest.fixture
def carriers(own_settings: Settings, tmp_path: Path) -> Iterator[Settings]:
    """Settings whose UDP port and Unix socket take what comes and do nothing with it."""
    path = tmp_path / "agent.sock"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.socket(socket.AF_UNIX) as unix:
        udp.bind(("127.0.0.1", 0))
        unix.bind(str(path))
        unix.listen(10)
        path.chmod(0o600)
        yield evolve(own_settings, socket=str(path), listen=Address("127.0.0.1", udp.getsockname()[1]))


def examine(
    capsys: pytest.CaptureFixture[str],
    settings: Settings,
    answers: dict[str, tuple[int, object]],
    sleep: Callable[[float], None] = lambda _seconds: None,
) -> tuple[int, dict[str, list[dict[str, Any]]]]:
    """Run doctor against scripted HTTP answers; return its exit code and its findings by check."""
    with answering(answers | {"/v1/traces?sync=1": (200, {"accepted": 1, "rejected": []})}) as server:
        settings = evolve(settings, listen=server.address)
        code = run_doctor(Namespace(json=True), settings, lambda: NOW_MS, sleep)
    findings: dict[str, list[dict[str, Any]]] = {}
    for finding in json.loads(capsys.readouterr().out)["findings"]:
        findings.setdefault(finding["check"], []).append(finding)
    return code, findings


def test_every_input_is_followed_into_the_store(
    capsys: pytest.CaptureFixture[str], agent: RunningAgent, settings: Settings, tmp_path: Path
) -> None:
    """A running agent gets one marked event by each input and has all of them a moment later."""
    settings = evolve(
        settings,
        listen=Address("127.0.0.1", agent.port),
        socket=str(agent.socket),
        db=str(tmp_path / "store" / "traces.db"),
    )
    done = command(capsys, settings, "doctor")
    again = command(capsys, settings, "doctor")
    stored = agent.get("/v1/events?name=doctor.probe")["items"]

    assert (done.code, again.code) == (0, 0), done.out
    assert "✗" not in done.out
    for carrier in ("udp", "unix", "http"):
        assert f"✓ {carrier}" in done.out
        assert sum(item["attributes"]["carrier"] == carrier for item in stored) == 2
    assert "nobody else has used this input" in done.out
    assert "the last event before came" in again.out


def test_without_an_agent(capsys: pytest.CaptureFixture[str], own_settings: Settings, tmp_path: Path) -> None:
    """Exit code 3, with what can be told all the same, and how to start it."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        listen = Address("127.0.0.1", sock.getsockname()[1])
    settings = evolve(own_settings, listen=listen, socket=str(tmp_path / "no.sock"))
    done = command(capsys, settings, "doctor")

    assert done.code == 3
    for words in ("✗ agent", "start `trace-agent run`", "✗ socket", "No such file", "✓ disk", "✓ clock"):
        assert words in done.out
    assert "doctor.probe" not in done.out


def test_events_that_do_not_arrive(
    capsys: pytest.CaptureFixture[str], store: StoreBuilder, carriers: Settings
) -> None:
    """Sent and never stored: each input is named, after a few seconds."""
    waited: list[float] = []
    code, findings = examine(capsys, carriers, answers(store), waited.append)

    assert code == 1
    assert 3 < sum(waited) < 10
    assert "was not in the store after" in findings["unix"][0]["message"]
    assert "was not in the store after" in findings["http"][0]["message"]
    assert "trace-agent status" in findings["http"][0]["remedy"]
    # Nobody listens for UDP on the port of the scripted answers.
    assert "Connection refused" in findings["udp"][0]["message"]


def test_events_that_arrive_late(
    capsys: pytest.CaptureFixture[str], store: StoreBuilder, carriers: Settings
) -> None:
    """The store is asked again and again, and the time it took is told."""
    turns: list[float] = []

    def sleep(seconds: float) -> None:
        turns.append(seconds)
        if len(turns) == 4:
            import os  # noqa: PLC0415 - for this test only

            for carrier in ("unix", "http"):
                store.event(id=f"doctor-{carrier}-{os.getpid()}-{NOW_MS}", name="doctor.probe")

    _, findings = examine(capsys, carriers, answers(store), sleep)

    assert "within 0.5 s" in findings["unix"][0]["message"]
    assert findings["http"][0]["verdict"] == "good"


@pytest.mark.parametrize(
    ("changes", "message", "remedy"),
    [
        ({"stuck": "database or disk is full"}, "disk is full", "make room"),
        ({"stuck": "disk I/O error"}, "disk I/O error", "log of the agent"),
        ({"db": Path("/data/other.db")}, "these settings name", "settings of the agent"),
    ],
)
def test_what_the_agent_says_is_wrong(
    capsys: pytest.CaptureFixture[str],
    store: StoreBuilder,
    carriers: Settings,
    changes: dict[str, Any],
    message: str,
    remedy: str,
) -> None:
    """Each problem of health comes with what to do about it."""
    code, findings = examine(capsys, carriers, answers(store, **changes))
    bad = [finding for finding in findings["agent"] if finding["verdict"] == "bad"]

    assert code == 1
    assert message in bad[0]["message"]
    assert remedy in bad[0]["remedy"]


def test_a_wrong_token(capsys: pytest.CaptureFixture[str], store: StoreBuilder, carriers: Settings) -> None:
    """The remedy names the variable."""
    refusal = (401, {"error": {"code": "unauthorized", "message": "send `Authorization: Bearer <token>`"}})
    _, findings = examine(capsys, carriers, answers(store) | {"/v1/stats": refusal})

    assert "TRACE_AGENT_TOKEN" in findings["agent"][-1]["remedy"]


def test_kernel_drops_and_small_buffers_are_warnings(
    capsys: pytest.CaptureFixture[str], store: StoreBuilder, carriers: Settings
) -> None:
    """They cost events, and are no failure of what runs: the remedy is the kernel's setting."""
    listeners = (
        Listener(Carrier.UDP, "127.0.0.1:1", 0, 8_388_608),
        Listener(Carrier.UDP, "127.0.0.1:2", 7, 8_388_608),
        Listener(Carrier.UDP, "127.0.0.1:3", 0, 212_992),
        Listener(Carrier.UNIX, "/x"),
    )
    _, findings = examine(capsys, carriers, answers(store, listeners=listeners))

    assert [finding["verdict"] for finding in findings["kernel"]] == ["good", "warning", "warning"]
    assert "7 datagrams dropped" in findings["kernel"][1]["message"]
    assert "net.core.rmem_max" in findings["kernel"][2]["remedy"]


def test_files_that_others_may_read(
    capsys: pytest.CaptureFixture[str], store: StoreBuilder, carriers: Settings
) -> None:
    """The database and its directory belong to their owner alone."""
    store.path.chmod(0o644)
    store.path.parent.chmod(0o777)
    _, findings = examine(capsys, carriers, answers(store))
    remedies = [finding["remedy"] for finding in findings["files"]]

    assert f"chmod 600 {store.path}" in remedies
    assert f"chmod 700 {store.path.parent}" in remedies


def test_a_socket_that_is_not_as_set(
    capsys: pytest.CaptureFixture[str], store: StoreBuilder, carriers: Settings, tmp_path: Path
) -> None:
    """Another mode than the setting's, or a file in its place, is told."""
    _, wrong_mode = examine(capsys, evolve(carriers, socket_mode=Mode(0o666)), answers(store))
    (tmp_path / "plain").write_text("")
    _, no_socket = examine(capsys, evolve(carriers, socket=str(tmp_path / "plain")), answers(store))

    assert "has mode 0600, the setting socket_mode says 0666" in wrong_mode["socket"][0]["message"]
    assert "is no socket" in no_socket["socket"][0]["message"]
    assert no_socket["unix"][0]["verdict"] == "bad"


def test_too_little_room(capsys: pytest.CaptureFixture[str], store: StoreBuilder, carriers: Settings) -> None:
    """Less free space than the setting demands is a problem before the disk is full."""
    _, findings = examine(capsys, evolve(carriers, min_free_mb=10**9), answers(store))

    assert findings["disk"][0]["verdict"] == "bad"
    assert "min_free_mb" in findings["disk"][0]["message"]


def test_a_clock_that_went_back(
    capsys: pytest.CaptureFixture[str], store: StoreBuilder, carriers: Settings
) -> None:
    """Rows from the future mean that the clock is wrong now, or was."""
    store.event(received_ms=NOW_MS + 3_600_000)
    _, findings = examine(capsys, carriers, answers(store))

    assert findings["clock"][0]["verdict"] == "bad"


def test_a_store_that_cannot_be_opened(
    capsys: pytest.CaptureFixture[str], store: StoreBuilder, carriers: Settings
) -> None:
    """Exit code 3 when the events can be sent but not followed."""
    code, findings = examine(capsys, evolve(carriers, db="/nowhere/traces.db"), answers(store))

    assert code == 3
    assert "no database at" in findings["store"][0]["message"]
