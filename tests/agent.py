"""A whole trace-agent for tests: in this process on trio, or as the program that users start."""

import json
import os
import re
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path

import h11
import trio
from attrs import frozen

from tests.ingest.peer import Answer, receive_answer
from trace_agent.core.counts import Carrier
from trace_agent.core.events import Json
from trace_agent.core.settings import Settings
from trace_agent.wiring import Agent

HTTP_ADDRESS = re.compile(r"listening: http http://(127\.0\.0\.1):(\d+)")


def named(name: object) -> dict[str, Json]:
    """Return an event."""
    return {"type": "event", "name": f"{name}"}


def packet(*names: object) -> bytes:
    """Return a packet of one event, or a batch of several."""
    return json.dumps(named(names[0]) if len(names) == 1 else [named(name) for name in names]).encode()


def frame(payload: bytes) -> bytes:
    """Return a frame of the Unix stream."""
    return struct.pack("<I", len(payload)) + payload


@frozen
class Place:
    """Where a trace-agent is reached."""

    host: str
    port: int
    unix: Path
    db: Path

    def send_udp(self, *datagrams: bytes) -> None:
        """Send datagrams; on the loopback interface they are in the queue when this returns."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect((self.host, self.port))
            for datagram in datagrams:
                sock.send(datagram)

    def send_unix(self, *payloads: bytes) -> None:
        """Send frames over a connection that is closed afterwards."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(self.unix))
            sock.sendall(b"".join(map(frame, payloads)))

    def send_http(self, data: bytes) -> socket.socket:
        """Send raw bytes and return the connection."""
        sock = socket.create_connection((self.host, self.port), timeout=20)
        sock.sendall(data)
        return sock

    async def ask(
        self, method: str, target: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> Answer:
        """Send a request over a connection of its own and return its answer."""
        fields = {"Host": "localhost", "Connection": "close", "Content-Length": str(len(body))}
        if body:
            fields["Content-Type"] = "application/json"
        fields |= headers or {}
        client = h11.Connection(h11.CLIENT)
        head = h11.Request(method=method, target=target, headers=[*fields.items()])
        data = [client.send(head), client.send(h11.Data(data=body)), client.send(h11.EndOfMessage())]
        async with await trio.open_tcp_stream(self.host, self.port) as stream:
            await stream.send_all(b"".join(each or b"" for each in data))
            return await receive_answer(stream, client)

    async def get(self, target: str) -> dict[str, Json]:
        """Return the JSON of a GET that has to succeed."""
        answer = await self.ask("GET", target)
        assert answer.status == 200, answer
        decoded = json.loads(answer.body)
        assert isinstance(decoded, dict)
        return decoded

    def names(self) -> list[str]:
        """Return the names of all events in the database, in the order of their arrival."""
        with closing(sqlite3.connect(f"{self.db.as_uri()}?mode=ro", uri=True)) as connection:
            return [name for (name,) in connection.execute("SELECT name FROM events ORDER BY row")]


def place_of(agent: Agent, host: str = "127.0.0.1") -> Place:
    """Return where an agent of this process is reached."""
    (http,) = {
        int(listener.address.rpartition(":")[2])
        for listener in agent.listeners
        if listener.carrier is Carrier.HTTP
    }
    return Place(host, http, Path(agent.settings.socket), Path(agent.settings.db))


@asynccontextmanager
async def started(settings: Settings) -> AsyncIterator[Agent]:
    """Start an agent in this process, stop it afterwards, and demand that the laws held."""
    agent = Agent(settings)
    async with trio.open_nursery() as nursery:
        await nursery.start(agent.run)
        yield agent
        agent.stopping.set()
    assert agent.counts.laws_broken({}, 0) == []


class Program:
    """The program as users start it."""

    def __init__(self, directory: Path, **env: str) -> None:
        own = {
            "HOME": str(directory),
            "TRACE_AGENT_LISTEN": "127.0.0.1:0",
            "TRACE_AGENT_DB": str(directory / "store" / "traces.db"),
            "TRACE_AGENT_SOCKET": str(directory / "agent.sock"),
        }
        foreign = ("TRACE_AGENT_", "XDG_", "NOTIFY_SOCKET")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        self.env = inherited | own | env
        self.log = ""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "trace_agent", "run"],
            env=self.env,
            stderr=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def wait_for(self, words: str) -> str:
        """Read the log up to the line with these words, and return the line.

        Raises:
            AssertionError: the log ends without it.
        """
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log += line
            if words in line:
                return line
        raise AssertionError(f"never said {words!r}:\n{self.log}")

    def place(self) -> Place:
        """Wait until it is ready, and return where it is reached."""
        self.wait_for("ready in")
        found = HTTP_ADDRESS.search(self.log)
        assert found is not None, self.log
        env = self.env
        return Place(
            found[1], int(found[2]), Path(env["TRACE_AGENT_SOCKET"]), Path(env["TRACE_AGENT_DB"]).absolute()
        )

    def end(self, number: signal.Signals | None = None) -> int:
        """Send a signal, if one is given, and return the exit code."""
        if number is not None:
            self.process.send_signal(number)
        assert self.process.stderr is not None
        self.log += self.process.stderr.read()
        return self.process.wait(20)


@contextmanager
def program(directory: Path, **env: str) -> Iterator[Program]:
    """Start the program; whatever the test does, it is gone afterwards."""
    running = Program(directory, **env)
    with running.process:
        try:
            yield running
        finally:
            if running.process.poll() is None:
                running.process.kill()
