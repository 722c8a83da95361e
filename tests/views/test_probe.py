"""`trace-agent emit`: what is built from options, and where it goes."""

import io
import json
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from tests.views.commanding import command
from tests.views.serving import answering
from trace_agent.core.errors import PeerError
from trace_agent.core.settings import Address, Settings
from trace_agent.views.probe import attributes_of


@pytest.fixture
def udp(settings: Settings) -> Iterator[tuple[socket.socket, Settings]]:
    """A UDP socket to look at, and settings whose agent it seems to be."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(5)
        yield sock, evolve(settings, listen=Address("127.0.0.1", sock.getsockname()[1]))


def sent(capsys: pytest.CaptureFixture[str], udp: tuple[socket.socket, Settings], *words: str) -> Any:  # noqa: ANN401 - JSON
    """Return what arrives when a command is given."""
    sock, settings = udp
    done = command(capsys, settings, "emit", *words)

    assert (done.code, done.err) == (0, "")
    return json.loads(sock.recv(65_536))


Udp = tuple[socket.socket, Settings]


def test_a_model_call(capsys: pytest.CaptureFixture[str], udp: Udp) -> None:
    """Options become fields of the wire, and words key=value attributes."""
    event = sent(
        capsys, udp, "llm", "--model", "m", "--provider", "p", "--input-tokens", "5", "--output-tokens",
        "7", "--cache-read-tokens", "9", "--cost-usd", "0.01", "--latency-ms", "120", "--error-kind",
        "timeout", "--error-message", "slow", "--agent", "a", "--id", "i", "--input", "hi", "n=5",
        "flag=true", "word=x=y",
    )  # fmt: skip

    assert event == {
        "type": "llm", "model": "m", "provider": "p",
        "tokens": {"input": "5", "output": "7", "cache_read": "9"}, "cost_usd": "0.01",
        "latency_ms": "120", "error": {"kind": "timeout", "message": "slow"}, "agent": "a", "id": "i",
        "input": "hi", "attributes": {"n": 5, "flag": True, "word": "x=y"},
    }  # fmt: skip


def test_an_event_and_an_error(capsys: pytest.CaptureFixture[str], udp: Udp) -> None:
    """Name and kind stand without an option."""
    words = ("event", "tool.run", "--duration-ms", "5", "--ts", "2026-11-22T12:00:00Z", "a=1")

    assert sent(capsys, udp, *words) == {
        "type": "event", "name": "tool.run", "duration_ms": "5", "ts": "2026-11-22T12:00:00Z",
        "attributes": {"a": 1},
    }  # fmt: skip
    assert sent(capsys, udp, "error", "tool.failed", "--message", "m", "--severity", "fatal") == {
        "type": "error", "kind": "tool.failed", "message": "m", "severity": "fatal",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "value", "kind"),
    [
        (("5",), "5", "gauge"),
        (("5", "--kind", "counter"), "5", "counter"),
        (("5|c",), "5", "counter"),
        (("-2", "--kind", "gauge"), "-2", "gauge"),
        (("320|ms",), "320", "timer"),
        (("1|h",), "1", "histogram"),
        (("1|d",), "1", "distribution"),
        (("bob|s",), "bob", "set"),
    ],
)
def test_a_metric(
    capsys: pytest.CaptureFixture[str], udp: Udp, words: tuple[str, ...], value: str, kind: str
) -> None:
    """A value with its kind as StatsD writes it, or as an option, and tags."""
    event = sent(capsys, udp, "metric", "q.depth", *words, *(() if len(words) > 1 else ("env:prod",)))

    assert (event["name"], event["value"], event["kind"]) == ("q.depth", value, kind)
    assert event["tags"] == ([] if len(words) > 1 else ["env:prod"])


def test_json_goes_as_it_is(
    capsys: pytest.CaptureFixture[str], udp: Udp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One event or several, from the command line or from stdin."""
    batch = '[{"type":"event","name":"a"},{"type":"event","name":"b"}]'
    monkeypatch.setattr(sys, "stdin", io.StringIO(batch))

    assert sent(capsys, udp, "--json", '{"type":"event","name":"ä"}')["name"] == "ä"
    assert len(sent(capsys, udp, "--json", "-")) == 2


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ((), "say what to send: llm, event, error, metric"),
        (("llm", "--input-tokens", "-1"), "tokens.input"),
        (("llm", "--latency-ms", "fast"), "latency_ms must be a number"),
        (("event", "n", "--ts", "soon"), "ts must be"),
        (("event", "n", "noequals"), "key=value"),
        (("event", "n", "=5"), "key=value"),
        (("metric", "m", "x"), "value must be a number"),
        (("metric", "m", "5|q"), "after the | stands one of c, g, ms, h, d, s"),
        (("--json", "{"), "the JSON cannot be read"),
        (("--json", '{"type":"event"}'), "name is required"),
        (("--json", '[{"type":"event","name":"a"},{"type":"x"}]'), "type must be"),
    ],
)
def test_what_would_be_refused_is_not_sent(
    capsys: pytest.CaptureFixture[str], udp: Udp, words: tuple[str, ...], reason: str
) -> None:
    """UDP would not answer, so the reason is found before, by the code that would refuse it."""
    sock, settings = udp
    done = command(capsys, settings, "emit", *words)
    sock.setblocking(False)

    assert (done.code, done.out) == (2, "")
    assert reason in done.err
    with pytest.raises(BlockingIOError):
        sock.recv(1)


def test_the_socket_is_used_where_it_is(capsys: pytest.CaptureFixture[str], udp: Udp, tmp_path: Path) -> None:
    """The Unix socket comes first, since it loses nothing; `--via` may stand on either side of the type."""
    sock, settings = udp
    settings = evolve(settings, socket=str(tmp_path / "own.sock"))
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(settings.socket)
        server.listen(5)
        by_unix = command(capsys, settings, "emit", "event", "a")
        by_udp = [
            command(capsys, settings, "emit", "--via", "udp", "event", "a"),
            command(capsys, settings, "emit", "event", "a", "--via", "udp"),
        ]

    assert by_unix.out == f"sent, over unix ({settings.socket})\n"
    assert [done.out for done in by_udp] == [f"sent, over udp ({settings.listen})\n"] * 2
    assert sock.recv(1000)


def test_nobody_who_takes_it_is_exit_code_3(
    capsys: pytest.CaptureFixture[str], settings: Settings, tmp_path: Path
) -> None:
    """An agent that does not run is told from a wrong event."""
    done = command(
        capsys, evolve(settings, socket=str(tmp_path / "no.sock")), "emit", "event", "a", "--via", "unix"
    )

    assert done.code == 3
    assert "No such file or directory" in done.err


@pytest.mark.parametrize(
    ("status", "body", "code", "said"),
    [
        (200, {"accepted": 1, "rejected": []}, 0, "stored, over http"),
        (
            401,
            {"error": {"code": "unauthorized", "message": "send `Authorization`"}},
            1,
            "send `Authorization`",
        ),
        (400, {"accepted": 0, "rejected": [{"index": 0, "reason": "\x1b[2J"}]}, 1, r"\u001b[2J"),
        (503, b"busy", 1, "HTTP status 503"),
    ],
)
def test_http_answers(
    capsys: pytest.CaptureFixture[str], settings: Settings, status: int, body: object, code: int, said: str
) -> None:
    """HTTP says what became of the event: stored, or why not."""
    with answering({"/v1/traces?sync=1": (status, body)}) as server:
        done = command(capsys, evolve(settings, listen=server.address), "emit", "--via", "http", "event", "a")

    assert done.code == code
    assert said in (done.err if code else done.out)


def test_attributes_are_json_or_text() -> None:
    """What reads as JSON is taken as such, the rest as it stands."""
    assert attributes_of(["a=1", "b=[1,2]", "c=null", "d=x y", "e=", "f={", 'g="5"']) == {
        "a": 1, "b": [1, 2], "c": None, "d": "x y", "e": "", "f": "{", "g": "5",
    }  # fmt: skip
    with pytest.raises(PeerError):
        attributes_of(["bare"])
