"""`trace-agent status`, with an agent, without one, and with something else in its place."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from tests.running import RunningAgent, running_agent
from tests.views.building import NOW_MS, StoreBuilder
from tests.views.commanding import command
from tests.views.living import live
from tests.views.serving import answering
from trace_agent.core.settings import Address, Settings
from trace_agent.views import commands
from trace_agent.views.figures import read_figures
from trace_agent.views.readonly import snapshot
from trace_agent.views.stats import health_json, problems_of, stats_json


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[RunningAgent]:
    """A trace-agent in a process of its own."""
    with running_agent(tmp_path) as running:
        yield running


@pytest.fixture
def agent_settings(agent: RunningAgent, settings: Settings, tmp_path: Path) -> Settings:
    """The settings that the running agent was started with."""
    return evolve(
        settings,
        listen=Address("127.0.0.1", agent.port),
        socket=str(agent.socket),
        db=str(tmp_path / "store" / "traces.db"),
    )


@pytest.fixture
def nobody(own_settings: Settings) -> Settings:
    """Settings of an agent that does not run, with its database."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return evolve(own_settings, listen=Address("127.0.0.1", sock.getsockname()[1]))


def answers(store: StoreBuilder, path: Path | None = None, **changes: Any) -> dict[str, tuple[int, object]]:  # noqa: ANN401 - fields of Live
    """Return what an agent with these figures answers."""
    figures = live(**({"db": path or store.path} | changes))
    with snapshot(store.path) as connection:
        stats = stats_json(figures, read_figures(connection), None)
    problems = problems_of(figures, None)
    return {
        "/health": (503 if problems else 200, health_json(figures, problems)),
        "/v1/stats": (200, stats),
    }


def test_a_running_agent_is_well(capsys: pytest.CaptureFixture[str], agent_settings: Settings) -> None:
    """Exit code 0, with the agent's version, its inputs and what is stored."""
    emitted = command(capsys, agent_settings, "emit", "llm", "--via", "http")
    done = command(capsys, agent_settings, "status")

    assert (emitted.code, done.code) == (0, 0)
    for words in ("running as pid", "1 packet, the last", "1 call, 0 events", "✓ all is well", "private"):
        assert words in done.out


def test_status_as_json_is_the_stats_of_http(
    capsys: pytest.CaptureFixture[str], agent_settings: Settings
) -> None:
    """A program reads the same names as over HTTP, and whether the agent runs."""
    told = json.loads(command(capsys, agent_settings, "status", "--json").out)

    assert (told["running"], told["problems"], told["laws"]["broken"]) == (True, [], [])
    assert told.keys() >= {"packets", "events", "rows", "self", "kernel_drops"}


def test_without_an_agent_the_database_is_told(
    capsys: pytest.CaptureFixture[str], store: StoreBuilder, nobody: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An agent that does not run is a problem, and what it stored can still be seen."""
    monkeypatch.setattr(commands, "_now_ms", lambda: NOW_MS + 60_000)
    store.call()
    store.call()
    store.connection.execute("INSERT INTO upstreams VALUES ('up', 1)")
    store.connection.execute(
        "INSERT INTO dead_letters (received_ms, origin, type, id, reason, payload)"
        " VALUES (1, 'store', 'event', 'x', 'r', '{}')"
    )
    done = command(capsys, nobody, "status")
    told = json.loads(command(capsys, nobody, "status", "--json").out)

    assert done.code == 1
    for words in (
        "not running",
        "2 calls",
        "1m ago",
        "up: 1 pending",
        "dead letters  1",
        "Connection refused",
    ):
        assert words in done.out
    assert (told["running"], told["rows"]["stored"], told["dead_letters"]) == (False, 2, 1)
    assert told["upstreams"] == [{"name": "up", "acked_seq": 1, "pending": 1}]


def test_neither_agent_nor_database(capsys: pytest.CaptureFixture[str], nobody: Settings) -> None:
    """Exit code 3, and both are named."""
    settings = evolve(nobody, db="/nowhere/traces.db")
    done = command(capsys, settings, "status")
    told = json.loads(command(capsys, settings, "status", "--json").out)

    assert done.code == 3
    assert "Connection refused" in done.out
    assert "no database at /nowhere/traces.db" in done.out
    assert len(told["problems"]) == 2


@pytest.mark.parametrize("body", [b"<html>", {"status": "ok"}, [1], {"error": {"message": "x"}}])
def test_another_program_on_the_port_is_not_ours(
    capsys: pytest.CaptureFixture[str], own_settings: Settings, body: object
) -> None:
    """Whatever answers there, it is not taken for trace-agent."""
    with answering({"/health": (200, body)}) as server:
        done = command(capsys, evolve(own_settings, listen=server.address), "status")

    assert done.code == 1
    assert "something else than trace-agent answers" in done.out


def test_a_wrong_token_is_told(
    capsys: pytest.CaptureFixture[str], store: StoreBuilder, own_settings: Settings
) -> None:
    """Health is open, the figures are not."""
    refusal = (401, {"error": {"code": "unauthorized", "message": "send `Authorization: Bearer <token>`"}})
    with answering(answers(store) | {"/v1/stats": refusal}) as server:
        done = command(capsys, evolve(own_settings, listen=server.address, token="wrong"), "status")

    assert done.code == 1
    assert "does not tell its figures: send `Authorization: Bearer" in done.out
    assert server.requests[1][2]["Authorization"] == "Bearer wrong"


def test_what_is_wrong_is_told(
    capsys: pytest.CaptureFixture[str], store: StoreBuilder, own_settings: Settings
) -> None:
    """A full disk, a broken law, losses and another database than the one here: each has its line."""
    other = Path("/data/other.db")
    with answering(answers(store, other, stuck="database or disk is full", events_waiting=7)) as server:
        done = command(capsys, evolve(own_settings, listen=server.address), "status")

    assert done.code == 1
    for words in (
        "nothing is being stored: database or disk is full", "events: accepted 20 is not settled",
        f"stores in {other}, these settings name {store.path}", "10 packets", "3 dropped by the kernel",
        "3 (bad_json 2, empty 1) refused",
    ):  # fmt: skip
        assert words in done.out


def test_an_agent_that_goes_away_meanwhile(
    capsys: pytest.CaptureFixture[str], store: StoreBuilder, own_settings: Settings
) -> None:
    """Health was answered and the figures were not: a problem, no crash."""
    healthy = {"/health": answers(store)["/health"], "/v1/stats": (200, b"cut short")}
    with answering(healthy) as server:
        done = command(capsys, evolve(own_settings, listen=server.address), "status")

    assert done.code == 1
    assert "does not tell its figures" in done.out
