"""Run a trace-agent of our own: settings in, a process that can be measured, stopped or killed out.

Linux only, as all of `bench/`: CPU time, memory and socket queues are read from the kernel.

The process gets an empty home, a temporary directory for everything it writes, and no `TRACE_AGENT_*`
of the caller's, so that a measurement never depends on the machine's own settings.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType

from attrs import define, frozen

from bench.client import Client

__all__ = ["Agent", "AgentFailedError", "Memory", "Target", "agent", "default_program", "stop_on_sigterm"]

_READY_LIMIT_S = 30.0
_MIB = 1024 * 1024


class AgentFailedError(Exception):
    """Trace-agent did not start, stop or live as it should; the message ends with its last log lines."""


@frozen
class Memory:
    """What one process holds, in bytes.

    Attributes:
        rss: resident pages, shared ones included.
        pss: the same with shared pages divided by their users.
        private: pages that nobody else has, so what stopping the process would give back.

    None stands for a figure that is not known.
    """

    rss: int | None
    pss: int | None
    private: int | None


@frozen
class Target:
    """Where a trace-agent is reached and observed.

    Attributes:
        pid: its process, or None when it is not known: then there is no CPU or memory figure.
    """

    host: str
    port: int
    socket_path: str
    pid: int | None

    def cpu_s(self) -> float | None:
        """Return the CPU seconds spent so far, ended threads included.

        The clock of another process by its id (clock_getcpuclockid(3)): nanoseconds, where
        `/proc/PID/stat` counts ticks of 10 ms.
        """
        if self.pid is None:
            return None
        return time.clock_gettime((~self.pid << 3) | 2)

    def cpu_wait_s(self) -> float | None:
        """Return how long its living threads have been ready to run while others had the CPUs.

        Much of it beside a load says that the machine, not trace-agent, was the limit.
        """
        if self.pid is None:
            return None
        tasks = Path(f"/proc/{self.pid}/task").glob("*/schedstat")
        return sum(int(task.read_text(encoding="ascii").split()[1]) for task in tasks) / 1e9

    def rss_bytes(self) -> int | None:
        """Return the resident size; cheap enough to sample during a load."""
        if self.pid is None:
            return None
        pages = Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * os.sysconf("SC_PAGESIZE")

    def memory(self) -> Memory | None:
        """Return exact memory figures; the kernel walks the page tables, so not for tight loops."""
        if self.pid is None:
            return None
        rollup = Path(f"/proc/{self.pid}/smaps_rollup").read_text(encoding="ascii")
        sizes = {
            name: int(rest.split()[0]) * 1024
            for name, _, rest in (line.partition(":") for line in rollup.splitlines()[1:])
        }
        return Memory(sizes["Rss"], sizes["Pss"], sizes["Private_Clean"] + sizes["Private_Dirty"])

    def udp_queue(self) -> tuple[int, int]:
        """Return bytes queued in the UDP sockets of this port and datagrams that the kernel dropped there."""
        queued = drops = 0
        for table in ("/proc/net/udp", "/proc/net/udp6"):
            with contextlib.suppress(FileNotFoundError):  # a kernel without IPv6
                for line in Path(table).read_text(encoding="ascii").splitlines()[1:]:
                    fields = line.split()
                    if int(fields[1].rpartition(":")[2], 16) == self.port:
                        queued += int(fields[4].partition(":")[2], 16)
                        drops += int(fields[-1])
        return queued, drops


@define
class Agent:
    """A running trace-agent that we started.

    Attributes:
        database: its SQLite file.
        log_path: what it wrote to stdout and stderr.
        notified_s: seconds from start to sd_notify's READY=1, or None if that did not come first.
        healthy_s: seconds from start to the first 200 of /health.
    """

    target: Target
    process: subprocess.Popen[bytes]
    database: Path
    log_path: Path
    notified_s: float | None
    healthy_s: float

    @property
    def alive(self) -> bool:
        """Say whether the process still runs."""
        return self.process.poll() is None

    def dies_within(self, limit_s: float) -> bool:
        """Wait a little for its end, which takes a dying process a moment; say whether it came."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(limit_s)
        return not self.alive

    def log(self) -> str:
        """Return all that it has logged so far."""
        return self.log_path.read_text(encoding="utf-8", errors="backslashreplace")

    def stop(self, limit_s: float = 20.0) -> float:
        """Ask it to stop by SIGTERM.

        Returns:
            Seconds until it was gone.

        Raises:
            AgentFailedError: it was still there after `limit_s`, had died before, or its exit code was not 0.
        """
        begun = time.monotonic()
        if self.alive:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(limit_s)
        except subprocess.TimeoutExpired:
            raise AgentFailedError(f"still running {limit_s:g} s after SIGTERM{_tail(self.log())}") from None
        if code != 0:
            raise AgentFailedError(f"exit code {code}{_tail(self.log())}")
        return time.monotonic() - begun

    def kill(self) -> None:
        """End it by SIGKILL, as the kernel's out-of-memory killer would."""
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def agent(
    *, settings: Mapping[str, str] | None = None, home: Path | None = None, program: str | None = None
) -> Iterator[Agent]:
    """Start a trace-agent and wait until it is ready; whatever happens, it is gone at the end.

    Args:
        settings: names as in CONTRACT section 5, lower case, to values.
        home: directory of database, socket and log; a temporary one when None.
        program: the command, by default the `trace-agent` beside this Python.

    Raises:
        AgentFailedError: it ended or was not ready within 30 s.
    """
    with contextlib.ExitStack() as stack:
        if home is None:
            home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="trace-agent-bench-")))
        running = _start(dict(settings or {}), home, program or default_program())
        try:
            yield running
        finally:
            running.kill()


def default_program() -> str:
    """Return the `trace-agent` of the environment that runs this Python."""
    return str(Path(sys.executable).with_name("trace-agent"))


def stop_on_sigterm() -> None:
    """Turn SIGTERM into SystemExit, so that `finally` blocks stop the processes we started."""

    def leave(_signal: int, _frame: FrameType | None) -> None:
        sys.exit(143)

    signal.signal(signal.SIGTERM, leave)


def _start(settings: dict[str, str], home: Path, program: str) -> Agent:
    port = _free_port()
    database, log_path, socket_path = home / "traces.db", home / "agent.log", home / "agent.sock"
    ours = {"listen": f"127.0.0.1:{port}", "db": str(database), "socket": str(socket_path)}
    environment = {key: value for key, value in os.environ.items() if not key.startswith("TRACE_AGENT_")}
    environment |= {f"TRACE_AGENT_{key.upper()}": value for key, value in (ours | settings).items()}
    environment |= {"HOME": str(home), "NOTIFY_SOCKET": str(home / "notify.sock")}
    (home / "notify.sock").unlink(missing_ok=True)
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify,
        log_path.open("ab") as log,
    ):
        notify.bind(environment["NOTIFY_SOCKET"])
        notify.settimeout(0.002)
        begun = time.monotonic()
        process = subprocess.Popen(
            [program, "run"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, cwd=home
        )
        try:
            notified_s, healthy_s = _wait_ready(process, port, notify, begun)
        except BaseException as error:
            process.kill()
            process.wait()
            if isinstance(error, AgentFailedError):
                raise AgentFailedError(f"{error}{_tail(log_path.read_text(errors='replace'))}") from None
            raise
    target = Target("127.0.0.1", port, str(socket_path), process.pid)
    return Agent(target, process, database, log_path, notified_s, healthy_s)


def _wait_ready(
    process: subprocess.Popen[bytes], port: int, notify: socket.socket, begun: float
) -> tuple[float | None, float]:
    notified_s: float | None = None
    while time.monotonic() - begun < _READY_LIMIT_S:
        if process.poll() is not None:
            raise AgentFailedError(f"ended at once with exit code {process.returncode}")
        with contextlib.suppress(TimeoutError):
            if b"READY=1" in notify.recv(4096):
                notified_s = time.monotonic() - begun
        # Refused while it is not listening yet: the very thing that is waited for.
        with contextlib.suppress(OSError), contextlib.closing(Client("127.0.0.1", port)) as client:
            if client.get("/health").status == 200:
                healthy_s = time.monotonic() - begun
                notify.settimeout(0.2 if notified_s is None else 0.001)
                with contextlib.suppress(TimeoutError):
                    if b"READY=1" in notify.recv(4096):
                        notified_s = notified_s or time.monotonic() - begun
                return notified_s, healthy_s
    raise AgentFailedError(f"not ready after {_READY_LIMIT_S:g} s")


def _free_port() -> int:
    """Return a port that is free for TCP and UDP right now."""
    for _attempt in range(50):
        with (
            socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        ):
            tcp.bind(("127.0.0.1", 0))
            port: int = tcp.getsockname()[1]
            with contextlib.suppress(OSError):
                udp.bind(("127.0.0.1", port))
                return port
    raise AgentFailedError("no port is free for both TCP and UDP")


def _tail(log: str) -> str:
    lines = log.splitlines()[-12:]
    return "".join(f"\n  | {line}" for line in lines) or " (it logged nothing)"
