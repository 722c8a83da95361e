"""What the machine says becomes settings and facts, and what is wrong with it a sentence for a person."""

import os
import pwd
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from trace_agent import machine
from trace_agent.core.errors import SettingsError
from trace_agent.machine import now_ms, port_holder, read_settings


@pytest.fixture(autouse=True)
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty home without settings of the one who runs the tests, and return it."""
    for name in [name for name in os.environ if name.startswith(("TRACE_AGENT_", "XDG_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refusal(config: str | None) -> tuple[str, str]:
    """Return key and message of refused settings."""
    with pytest.raises(SettingsError) as refused:
        read_settings(config)
    return refused.value.key, str(refused.value)


def test_now() -> None:
    """The time is that of the wall clock, in milliseconds."""
    before = time.time_ns()
    now = now_ms()

    assert before // 1_000_000 <= now <= time.time_ns() // 1_000_000


def test_environment_beats_the_file(clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file in the working directory is read unless another one is named; variables beat it."""
    (clean / "trace-agent.toml").write_text("ring_mb = 5\nmax_series = 7\n")
    monkeypatch.setenv("TRACE_AGENT_RING_MB", "6")
    settings = read_settings(None)

    assert (settings.ring_mb, settings.max_series) == (6, 7)


def test_named_file(clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is named counts alone: by option, else by variable, with `~` for the home."""
    (clean / "trace-agent.toml").write_text("max_series = 7\n")
    (clean / "a.toml").write_text("ring_mb = 5\n")
    (clean / "b.toml").write_text("ring_mb = 6\n")
    monkeypatch.setenv("TRACE_AGENT_CONFIG", "~/b.toml")
    by_variable = read_settings(None)
    by_option = read_settings(str(clean / "a.toml"))

    assert (by_option.ring_mb, by_variable.ring_mb) == (5, 6)
    assert by_option.max_series == by_variable.max_series == 10_000


def test_named_file_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A named file that is not there stops the start, and the message says who named it."""
    by_option = refusal("missing.toml")
    monkeypatch.setenv("TRACE_AGENT_CONFIG", "missing.toml")
    by_variable = refusal(None)

    assert by_option == ("--config", "--config = missing.toml: there is no such file")
    assert by_variable == ("TRACE_AGENT_CONFIG", "TRACE_AGENT_CONFIG = missing.toml: there is no such file")


@pytest.mark.parametrize("content", [b"ring_mb = ", b"\xff\xfe", b"a = 1\na = 2\n", None])
def test_unreadable_file(clean: Path, content: bytes | None) -> None:
    """A file that cannot be read stops the start, named, though nobody asked for it."""
    path = clean / "trace-agent.toml"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    key, said = refusal(None)

    assert key == "configuration file"
    assert "trace-agent.toml: cannot be read: " in said


def test_home_of_nobody() -> None:
    """A `~` that leads nowhere is an error of the file's name."""
    _, said = refusal("~no-such-user/trace-agent.toml")

    assert "~no-such-user/trace-agent.toml: cannot be read: " in said


def test_user_without_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user whom the machine does not know, as in containers, has `/` for a home, and can start."""

    def unknown(uid: int) -> object:
        raise KeyError(uid)

    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    settings = read_settings(None)

    assert settings.db.startswith("/")
    assert machine._facts().home == "/"


def test_facts(clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Defaults depend on who we are and what is there."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/7")
    monkeypatch.setattr(machine, "_DATA", clean / "data")
    before = machine._facts()
    (clean / "data").mkdir()
    (clean / ".openclaw").mkdir()
    after = machine._facts()

    assert (before.uid, before.home, before.xdg_runtime_dir) == (os.getuid(), str(clean), "/run/user/7")
    assert before.xdg_state_home is None
    assert (before.data_writable, before.openclaw_home_exists) == (False, False)
    assert (after.data_writable, after.openclaw_home_exists) == (True, True)


HOLD = """
import socket, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM if sys.argv[1] == "tcp" else socket.SOCK_DGRAM)
sock.bind(("127.0.0.1", 0))
if sys.argv[1] == "tcp":
    sock.listen()
print(sock.getsockname()[1], flush=True)
sys.stdin.read()
"""


@contextmanager
def holding(kind: str) -> Iterator[tuple[int, int]]:
    """Let another process hold a port; yield the port and the process id."""
    with subprocess.Popen(
        [sys.executable, "-S", "-c", HOLD, kind], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline()), process.pid
        finally:
            process.stdin.close()


@pytest.mark.skipif(sys.platform != "linux", reason="macOS tells root only")
@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_port_holder(kind: str) -> None:
    """Who holds a port is told by name and process id, for TCP and UDP."""
    with holding(kind) as (port, pid):
        holder = port_holder(port)

    assert holder is not None
    assert holder.endswith(f"(pid {pid})")
    assert holder.startswith("python")


def test_own_port() -> None:
    """We are never the one who is in our way: of a pair we may have bound the other half already."""
    import socket  # noqa: PLC0415 - the one test that binds

    with socket.create_server(("127.0.0.1", 0)) as sock:
        assert port_holder(sock.getsockname()[1]) is None


class Connection:
    """One row of what psutil tells of connections."""

    status = psutil.CONN_LISTEN
    pid: int | None = 2**22 + 1  # beyond the highest process id of Linux

    class laddr:  # noqa: N801 - as psutil names it
        """The local address."""

        port = 9090


@pytest.mark.parametrize(("pid", "holder"), [(Connection.pid, f"pid {Connection.pid}"), (None, None)])
def test_holder_without_a_name(monkeypatch: pytest.MonkeyPatch, pid: int | None, holder: str | None) -> None:
    """A process that is gone by then has its id only; one of another user is nobody we know."""
    row = Connection()
    row.pid = pid
    monkeypatch.setattr(psutil, "net_connections", lambda _: [row])

    assert port_holder(9090) == holder


@pytest.mark.parametrize("error", [psutil.AccessDenied(), PermissionError()])
def test_holder_is_a_secret(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Where the machine tells root only, nobody is named."""

    def refuse(_: str) -> object:
        raise error

    monkeypatch.setattr(psutil, "net_connections", refuse)

    assert port_holder(9090) is None
