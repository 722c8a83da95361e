"""Bind a Unix stream socket: a path and its permissions in, a listener out that leaves no trace.

Whoever may change the directory can put another socket in our place, so it has to be ours alone.
"""

import errno
import os
import socket
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

import trio
from attrs import define

from trace_agent.core.errors import ListenError

__all__ = ["UnixListener", "bind_unix"]

_BACKLOG: Final = 128


@define
class UnixListener:
    """A bound socket and the file that stands for it."""

    path: Path
    socket: trio.socket.SocketType
    _inode: int

    def close(self) -> None:
        """Close the socket and remove its file, unless another one has taken its place."""
        # While the socket is open nobody else can be given its inode.
        with suppress(FileNotFoundError, NotADirectoryError):
            if self.path.lstat().st_ino == self._inode:
                self.path.unlink()
        self.socket.close()


def bind_unix(path: Path, mode: int, group: int | None) -> UnixListener:
    """Bind a stream socket at `path`, taking the place of a stale one.

    The socket is bound under another name, given its mode, and renamed: there is no moment at which
    others can connect to it, and none at which the path is missing.

    Args:
        path: its directory is made with mode 0700 when it is missing.
        mode: permissions of the socket.
        group: id of the group it shall belong to.

    Raises:
        ListenError: the path is no socket, somebody listens there, the directory is not safe, or we
            may not give files to the group.
    """
    try:
        _prepare_directory(path.parent)
        _check_free(path)
        # Not longer than the names we choose, because 107 bytes are all that a socket's path may have.
        own = path.with_name(f".ta{os.getpid()}")
        own.unlink(missing_ok=True)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.bind(os.fspath(own))
            if group is not None:
                _give(own, group)
            own.chmod(mode)
            sock.listen(_BACKLOG)
            own.rename(path)
        except BaseException:
            sock.close()
            own.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ListenError(
            f"socket {path}: {error.strerror or error}; choose another (setting `socket`)"
        ) from error
    sock.setblocking(False)
    return UnixListener(path, trio.socket.from_stdlib_socket(sock), path.lstat().st_ino)


def _give(path: Path, group: int) -> None:
    try:
        os.chown(path, -1, group)
    except OSError as error:
        raise ListenError(
            f"a socket cannot be given to group {group}: {error.strerror}; "
            "choose a group that this user is in (setting `socket_group`)"
        ) from error


def _prepare_directory(directory: Path) -> None:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = directory.stat()
    if not stat.S_ISDIR(found.st_mode):
        raise ListenError(f"{directory} is no directory (setting `socket`)")
    # In /tmp anybody could have made it before us, or put a link to elsewhere in its place.
    strangers = {found.st_uid, directory.lstat().st_uid} - {os.geteuid(), 0}
    shared = found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX
    if strangers or shared:
        raise ListenError(
            f"{directory} can be changed by other users, who could then take the socket's place: "
            f"make it yours alone (chmod 700), or choose another place (setting `socket`)"
        )


def _check_free(path: Path) -> None:
    """Demand that nobody listens at the path, and that it is one at which somebody could."""
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise ListenError(
                f"{path} exists and is no socket: remove it, or choose another (setting `socket`)"
            )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        # One whose queue of connections is full would make us wait.
        probe.setblocking(False)
        try:
            probe.connect(os.fspath(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return  # nothing there, or left behind by a process that is gone
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno is None:  # Python's own: sockaddr_un holds 107 bytes of path, 103 on macOS
                raise OSError(errno.ENAMETOOLONG, "the path is too long for a Unix socket") from error
            raise
    raise ListenError(
        f"{path}: another program listens there, perhaps a second trace-agent: "
        "stop it, or choose another (setting `socket`)"
    )
