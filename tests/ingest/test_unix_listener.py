"""A Unix socket is bound where nobody else can reach or replace it, and leaves no trace."""

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import trio

from trace_agent.core.errors import ListenError
from trace_agent.ingest.unix_listener import UnixListener, bind_unix


@pytest.fixture
def closing() -> Iterator[ExitStack]:
    """Return a stack of what is to be closed after the test."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where to bind."""
    return tmp_path / "run" / "agent.sock"


def bind(path: Path, closing: ExitStack, mode: int = 0o600, group: int | None = None) -> UnixListener:
    """Bind for the length of a test."""
    listener = bind_unix(path, mode, group)
    closing.callback(lambda: socket.close(listener.socket.detach()))
    return listener


def close(listener: UnixListener) -> None:
    """Close a listener as the agent does, which runs on trio."""

    async def main() -> None:
        listener.close()

    trio.run(main)


def refusal(path: Path, closing: ExitStack, group: int | None = None) -> str:
    """Return why binding is refused."""
    with pytest.raises(ListenError) as refused:
        bind(path, closing, group=group)
    return str(refused.value)


def stale(path: Path) -> None:
    """Leave a socket behind as a killed process does."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
def test_mode(path: Path, closing: ExitStack, mode: int) -> None:
    """The socket has the mode that was asked for, the umask notwithstanding, in a directory of our own."""
    before = os.umask(0)
    try:
        bind(path, closing, mode)
    finally:
        os.umask(before)

    assert stat.S_ISSOCK(path.lstat().st_mode)
    assert stat.S_IMODE(path.lstat().st_mode) == mode
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [child.name for child in path.parent.iterdir()] == ["agent.sock"]


def test_connect_and_close(path: Path) -> None:
    """Clients can connect from the moment the path is there, and closing removes it."""
    listener = bind_unix(path, 0o600, None)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    close(listener)

    assert not path.exists()


def test_group(path: Path, closing: ExitStack) -> None:
    """The socket can be given to a group that we are in."""
    group = os.getgroups()[-1] if os.getgroups() else os.getegid()
    bind(path, closing, 0o660, group)

    assert path.lstat().st_gid == group


def test_foreign_group(path: Path, closing: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """A group that we may not give files to is named with its setting, and nothing is left behind."""

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "chown", refuse)
    said = refusal(path, closing, group=1)

    assert "group 1" in said
    assert "`socket_group`" in said
    assert [*path.parent.iterdir()] == []


def test_stale_socket_is_replaced(path: Path, closing: ExitStack) -> None:
    """A socket that nobody listens on, as a kill leaves it, is replaced without a word."""
    path.parent.mkdir(mode=0o700)
    stale(path)
    before = path.lstat().st_ino
    bind(path, closing)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))

    assert path.lstat().st_ino != before


def test_leavings_of_a_killed_start(path: Path, closing: ExitStack) -> None:
    """What a start with our process id left between binding and renaming is in nobody's way."""
    path.parent.mkdir(mode=0o700)
    stale(path.with_name(f".ta{os.getpid()}"))
    bind(path, closing)

    assert [child.name for child in path.parent.iterdir()] == ["agent.sock"]


def test_live_socket_is_refused(path: Path, closing: ExitStack) -> None:
    """A socket that somebody listens on is left alone, and the message says so and names it."""
    bind(path, closing)
    inode = path.lstat().st_ino
    said = refusal(path, closing)

    assert str(path) in said
    assert "another program listens there" in said
    assert "`socket`" in said
    assert path.lstat().st_ino == inode


def test_busy_socket_is_refused(path: Path, closing: ExitStack) -> None:
    """One whose queue is full is alive too, and does not make us wait."""
    path.parent.mkdir(mode=0o700)
    busy = closing.enter_context(socket.socket(socket.AF_UNIX))
    busy.bind(str(path))
    busy.listen(0)
    for _ in range(2):
        client = closing.enter_context(socket.socket(socket.AF_UNIX))
        client.setblocking(False)
        client.connect_ex(str(path))

    assert "another program listens there" in refusal(path, closing)


@pytest.mark.parametrize("kind", ["file", "directory", "link"])
def test_what_is_no_socket_is_refused(path: Path, closing: ExitStack, kind: str) -> None:
    """What is no socket is not ours to remove, nor is what a link leads to."""
    path.parent.mkdir(mode=0o700)
    if kind == "file":
        path.write_text("precious")
    elif kind == "directory":
        path.mkdir()
    else:
        stale(path.with_name("other.sock"))
        path.symlink_to("other.sock")
    said = refusal(path, closing)

    assert f"{path} exists and is no socket" in said
    assert path.exists()


@pytest.mark.parametrize("mode", [0o720, 0o702, 0o777])
def test_directory_that_others_can_change(path: Path, closing: ExitStack, mode: int) -> None:
    """In a directory that others can write to, anybody could take the socket's place."""
    path.parent.mkdir()
    path.parent.chmod(mode)

    assert "can be changed by other users" in refusal(path, closing)


def test_sticky_directory(path: Path, closing: ExitStack) -> None:
    """In one like /tmp nobody can: only owners remove files there."""
    path.parent.mkdir()
    path.parent.chmod(0o1777)
    bind(path, closing)

    assert path.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("linked", [False, True])
def test_directory_of_another_user(tmp_path: Path, closing: ExitStack, linked: bool) -> None:
    """A directory, or a link to one, that another user made is not safe, whatever its mode."""
    place = tmp_path / "place"
    if linked:
        (tmp_path / "own").mkdir(mode=0o700)
        place.symlink_to("own")
    else:
        place.mkdir(mode=0o700)
    os.chown(place, 12_345, 12_345, follow_symlinks=False)

    assert "can be changed by other users" in refusal(place / "agent.sock", closing)


def test_link_to_a_directory(tmp_path: Path, closing: ExitStack) -> None:
    """A link of our own to a safe directory is as good as the directory: `/var/run` is one to `/run`."""
    (tmp_path / "run").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to("run")
    bind(tmp_path / "link" / "agent.sock", closing)

    assert (tmp_path / "run" / "agent.sock").exists()


def test_link_to_an_unsafe_directory(tmp_path: Path, closing: ExitStack) -> None:
    """A link of our own does not make an unsafe directory safe."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run").chmod(0o777)
    (tmp_path / "link").symlink_to("run")

    assert "can be changed by other users" in refusal(tmp_path / "link" / "agent.sock", closing)


def test_no_directory(tmp_path: Path, closing: ExitStack) -> None:
    """A parent that is no directory is an error that names the socket and its setting."""
    (tmp_path / "run").write_text("")
    said = refusal(tmp_path / "run" / "agent.sock", closing)

    assert str(tmp_path / "run" / "agent.sock") in said
    assert "`socket`" in said


def test_longest_path(tmp_path: Path, closing: ExitStack) -> None:
    """A path can be as long as the system allows; a longer one is refused in words."""
    most = 107 if os.uname().sysname == "Linux" else 103
    room = most - len(str(tmp_path / "agent.sock")) - 1
    if room < 1:
        pytest.skip("the directory for temporary files is too deep")
    longest = tmp_path / ("d" * room) / "agent.sock"
    bind(longest, closing)
    said = refusal(tmp_path / ("d" * (room + 1)) / "agent.sock", closing)

    assert len(str(longest)) == most
    assert longest.exists()
    assert "too long" in said


def test_close_leaves_another_ones_socket(path: Path) -> None:
    """Closing removes our own socket only, not the one that has taken its place."""
    listener = bind_unix(path, 0o600, None)
    path.unlink()
    stale(path)
    close(listener)

    assert path.exists()


def test_close_when_all_is_gone(path: Path) -> None:
    """Closing is fine when the socket, or all of its directory, has been removed by others."""
    first, second = bind_unix(path, 0o600, None), bind_unix(path.with_name("b.sock"), 0o600, None)
    path.unlink()
    close(first)
    path.with_name("b.sock").unlink()
    path.parent.rmdir()
    path.parent.write_text("")
    close(second)

    assert path.parent.is_file()
