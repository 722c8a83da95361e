"""Run a real trace-agent in a process of its own, for tests that know nothing of it but its addresses."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

_ADDRESS = re.compile(r"listening: http http://127\.0\.0\.1:(\d+)")


@frozen
class RunningAgent:
    """Where a started trace-agent listens."""

    port: int
    socket: Path

    def get(self, path: str) -> Any:  # noqa: ANN401 - JSON, which each test reads its own way
        """Return the decoded answer of a GET."""
        return json.loads(self.get_text(path))

    def get_text(self, path: str) -> str:
        """Return the answer of a GET."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
            return str(answer.read().decode())

    def settle(self, carrier: str, packets: int) -> None:
        """Wait until so many packets have met their fate and are committed."""
        seen: dict[str, Any] = {}
        for _ in range(500):
            seen = self.get("/v1/stats")["packets"][carrier]
            if seen["received"] >= packets and not seen["waiting"]:
                break
        else:
            pytest.fail(f"{packets} {carrier} packets expected, this came: {seen}")
        # An event stored with `sync` comes after everything accepted before it.
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/v1/events?sync=1",
            data=b'{"name":"settled"}',
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status == 200

    def metrics(self) -> dict[tuple[str, str, tuple[str, ...]], dict[str, Any]]:
        """Return the windows of `/v1/metrics` by kind, name and tags, several of one series added up."""
        series: dict[tuple[str, str, tuple[str, ...]], dict[str, Any]] = {}
        for window in reversed(self.get("/v1/metrics?limit=1000")["items"]):
            key = (window["kind"], window["name"], tuple(window["tags"]))
            known = series.setdefault(key, window)
            if known is not window:
                for name in ("count", "sum"):
                    known[name] = known.get(name, 0) + window.get(name, 0)
                known.update({name: window[name] for name in ("last", "unique") if name in window})
        return series


@contextmanager
def running_agent(directory: Path) -> Iterator[RunningAgent]:
    """Start trace-agent, hand out its addresses, stop it, and demand that the laws held."""
    socket = directory / "agent.sock"
    env = {name: value for name, value in os.environ.items() if not name.startswith("TRACE_AGENT_")} | {
        "TRACE_AGENT_LISTEN": "127.0.0.1:0",
        "TRACE_AGENT_DB": str(directory / "store" / "traces.db"),
        "TRACE_AGENT_SOCKET": str(socket),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "trace_agent", "run"], env=env, stderr=subprocess.PIPE, text=True
    )
    with process:
        assert process.stderr is not None
        port = 0
        for line in process.stderr:
            if found := _ADDRESS.search(line):
                port = int(found[1])
            if "ready in" in line:
                break
        try:
            yield RunningAgent(port, socket)
        finally:
            process.send_signal(signal.SIGTERM)
            said = process.stderr.read()
    assert process.returncode == 0, said
