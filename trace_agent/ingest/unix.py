"""Read Unix stream connections: chunks of bytes in, chunks of packets into the inbox.

Nobody who connects is made to wait, except a client that asked for it in its first frame
(`{"type":"hello","flow":true}`): for that one the reading pauses instead, and it sees a full socket.
"""

import errno
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

import trio
from attrs import define

from trace_agent.core.counts import Carrier, Counts
from trace_agent.core.errors import FrameError, ListenError, PacketError, Reason
from trace_agent.core.frames import StreamSplitter
from trace_agent.dialects.native import Form, form_of, hello_of, values
from trace_agent.ingest.inbox import Chunk, Inbox

__all__ = ["UnixListener", "bind_unix", "serve_unix"]

_READ_BYTES: Final = 64 * 1024
# A frame that does not become whole in this time never will, and it holds memory.
_FRAME_TIMEOUT_S: Final = 30.0
_LAST_READ_S: Final = 0.2
_CONNECTIONS: Final = 256
_BACKLOG: Final = 128
# A hello is a few words; a first frame that is larger is no hello.
_HELLO_BYTES: Final = 4096


@define
class UnixListener:
    """A bound socket and the file that stands for it."""

    path: Path
    socket: trio.socket.SocketType
    _inode: int

    def close(self) -> None:
        """Close the socket and remove its file, unless another one has taken its place."""
        self.socket.close()
        try:
            if self.path.stat().st_ino == self._inode:
                self.path.unlink()
        except FileNotFoundError:
            pass


def bind_unix(path: Path, mode: int, group: int | None) -> UnixListener:
    """Bind a stream socket at `path`, taking the place of a stale one.

    The socket is bound under another name, given its mode, and renamed: there is no moment at which
    others can connect to it, and none at which the path is missing.

    Args:
        path: its directory is made with mode 0700 when it is missing.
        mode: permissions of the socket.
        group: id of the group it shall belong to.

    Raises:
        ListenError: the path is no socket, somebody listens there, or the directory is not safe.
    """
    try:
        _prepare_directory(path.parent)
        _check_free(path)
        own = path.with_name(f".{path.name}.{os.getpid()}")
        own.unlink(missing_ok=True)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            _bind(sock, own)
            if group is not None:
                os.chown(own, -1, group)
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
    return UnixListener(path, trio.socket.from_stdlib_socket(sock), path.stat().st_ino)


def _bind(sock: socket.socket, path: Path) -> None:
    # sockaddr_un holds 107 bytes of path (103 on macOS): the kernel's message for longer ones is unclear.
    try:
        sock.bind(os.fspath(path))
    except OSError as error:
        if error.errno is None:
            raise OSError(errno.ENAMETOOLONG, "the path is too long for a Unix socket") from error
        raise


def _prepare_directory(directory: Path) -> None:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    # In /tmp anybody could have made it before us, or put a link to elsewhere in its place.
    found = directory.lstat()
    shared = stat.S_IMODE(found.st_mode) & 0o022 and not found.st_mode & stat.S_ISVTX
    if not stat.S_ISDIR(found.st_mode) and not directory.is_dir():
        raise ListenError(f"{directory} is no directory (setting `socket`)")
    if found.st_uid not in (os.geteuid(), 0) or shared:
        raise ListenError(
            f"{directory} can be changed by other users, who could then take the socket's place: "
            f"make it yours alone (chmod 700), or choose another place (setting `socket`)"
        )


def _check_free(path: Path) -> None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise ListenError(f"{path} exists and is no socket: remove it, or choose another (setting `socket`)")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(os.fspath(path))
        except OSError as error:
            if error.errno in (errno.ECONNREFUSED, errno.ENOENT):
                return  # left behind by a process that is gone
            raise
    raise ListenError(
        f"{path}: another program listens there, perhaps a second trace-agent: "
        "stop it, or choose another (setting `socket`)"
    )


async def serve_unix(listener: UnixListener, inbox: Inbox, counts: Counts, now_ms: Callable[[], int]) -> None:
    """Accept and read connections until cancelled.

    Resource handling: connections are closed here, the listener by the caller.
    Error handling: what a peer sends ends its own connection at worst; being out of file descriptors
    is waited out.
    """
    async with trio.open_nursery() as nursery:
        open_connections = trio.Semaphore(_CONNECTIONS)
        while True:
            await open_connections.acquire()
            stream = await _accept(listener.socket)
            nursery.start_soon(_serve_one, stream, open_connections, inbox, counts, now_ms)


async def _accept(sock: trio.socket.SocketType) -> trio.SocketStream:
    while True:
        try:
            accepted, _ = await sock.accept()
        except OSError as error:
            # As trio's own serve_listeners: the process or system limit, which passes when others close.
            if error.errno not in (
                errno.EMFILE,
                errno.ENFILE,
                errno.ENOMEM,
                errno.ENOBUFS,
                errno.ECONNABORTED,
            ):
                raise
            await trio.sleep(0.1)
        else:
            return trio.SocketStream(accepted)


async def _serve_one(
    stream: trio.SocketStream,
    open_connections: trio.Semaphore,
    inbox: Inbox,
    counts: Counts,
    now_ms: Callable[[], int],
) -> None:
    connection = _Connection(inbox, counts, now_ms)
    try:
        async with stream:
            try:
                await connection.read(stream)
            except trio.Cancelled:
                # What the kernel holds was sent before we were told to stop.
                with trio.move_on_after(_LAST_READ_S, shield=True):
                    await connection.read(stream)
                raise
    finally:
        connection.close()
        open_connections.release()


class _Connection:
    """One client's stream and what it asked for."""

    def __init__(self, inbox: Inbox, counts: Counts, now_ms: Callable[[], int]) -> None:
        self._inbox = inbox
        self._counts = counts.packets[Carrier.UNIX]
        self._now_ms = now_ms
        self._splitter = StreamSplitter()
        self._flow = False
        self._first = True
        # What an unfinished frame holds of the ring: a client must not be able to claim memory for free.
        self._reserved_bytes = 0

    def close(self) -> None:
        """Give back what the unfinished frame held."""
        self._inbox.release(self._reserved_bytes)
        self._reserved_bytes = 0

    async def read(self, stream: trio.abc.ReceiveStream) -> None:
        """Read to the end of the stream, or to the first thing in it that cannot be followed."""
        try:
            while True:
                timeout_s = _FRAME_TIMEOUT_S if self._splitter.pending_bytes else float("inf")
                with trio.move_on_after(timeout_s) as waiting:
                    data = await stream.receive_some(_READ_BYTES)
                if waiting.cancelled_caught:
                    self._refuse(Reason.SLOW)
                    return
                if not data:
                    await self._put(self._splitter.finish())
                    return
                packets = self._splitter.feed(bytes(data))
                # What was held for a frame that is whole now must not stand in its own way.
                self.close()
                await self._put(packets)
                await self._hold_pending()
        except FrameError as error:
            await self._put(list(error.packets))
            self._refuse(error.reason)
        except trio.BrokenResourceError:
            # The client is gone without a word; what it sent whole is kept.
            if self._splitter.pending_bytes:
                self._refuse(Reason.TRUNCATED)

    async def _put(self, packets: list[bytes]) -> None:
        if not packets:
            return
        if self._first:
            self._first = False
            if self._greeted(packets[0]):
                self._counts.received += 1
                self._counts.received_bytes += len(packets[0])
                self._counts.accepted += 1
                packets = packets[1:]
                if not packets:
                    return
        chunk = Chunk(
            Carrier.UNIX,
            packets,
            sum(map(len, packets)),
            self._now_ms(),
            form=Form.LINES if self._splitter.is_text else None,
        )
        if self._flow:
            try:
                await self._inbox.put(chunk)
            except trio.Cancelled:
                self._inbox.put_nowait(chunk)  # we are stopping, and it has been received
                raise
        else:
            self._inbox.put_nowait(chunk)

    def _greeted(self, packet: bytes) -> bool:
        """Return whether the first frame is a hello, and do as it asks."""
        if len(packet) > _HELLO_BYTES or self._splitter.is_text:
            return False
        try:
            form = form_of(packet)
            items = [] if form is Form.LINES else values(packet, form)
        except PacketError:
            return False  # the inbox refuses it by name
        hello = hello_of(items[0]) if len(items) == 1 else None
        if hello is None:
            return False
        self._flow = hello.get("flow") is True
        self._inbox.greet(hello)
        return True

    async def _hold_pending(self) -> None:
        """Count the bytes of an unfinished frame into the ring."""
        pending_bytes = self._splitter.pending_bytes
        if not self._inbox.reserve_nowait(pending_bytes):
            if not self._flow:
                raise FrameError(Reason.RING_FULL)
            # Bounded, because clients that each hold half a frame could wait for each other for ever.
            with trio.move_on_after(_FRAME_TIMEOUT_S) as waiting:
                await self._inbox.reserve(pending_bytes)
            if waiting.cancelled_caught:
                raise FrameError(Reason.RING_FULL)
        self._reserved_bytes = pending_bytes

    def _refuse(self, reason: Reason) -> None:
        """Count what cannot become a packet any more, as one that was refused."""
        self._counts.received += 1
        self._counts.refused[reason] += 1
        self._inbox.complaints.note(Carrier.UNIX, reason, self._splitter.pending_bytes)
