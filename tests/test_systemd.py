"""The service manager hears how far we are, if there is one, and nothing depends on it."""

import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from trace_agent.systemd import notify


@pytest.fixture
def manager() -> Iterator[socket.socket]:
    """Return a datagram socket that does not wait."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        yield sock


def test_path(manager: socket.socket, tmp_path: Path) -> None:
    """The word goes to the socket at the path."""
    manager.bind(str(tmp_path / "notify"))
    told = notify("READY=1", {"NOTIFY_SOCKET": str(tmp_path / "notify")})

    assert told
    assert manager.recv(100) == b"READY=1"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has abstract names")
def test_abstract_name(manager: socket.socket, tmp_path: Path) -> None:
    """An `@` stands for the zero byte of an abstract name."""
    manager.bind(f"\0trace-agent{tmp_path}")
    told = notify("STOPPING=1", {"NOTIFY_SOCKET": f"@trace-agent{tmp_path}"})

    assert told
    assert manager.recv(100) == b"STOPPING=1"


@pytest.mark.parametrize("env", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1"}])
def test_nobody_asked(env: dict[str, str]) -> None:
    """Without a socket of a kind that we know nothing is sent."""
    assert not notify("READY=1", env)


def test_manager_is_gone(tmp_path: Path) -> None:
    """A manager that is gone is no reason to stop, nor is a path that can be none."""
    gone = notify("READY=1", {"NOTIFY_SOCKET": str(tmp_path / "gone")})
    impossible = notify("READY=1", {"NOTIFY_SOCKET": "/" + "x" * 500})

    assert (gone, impossible) == (False, False)
