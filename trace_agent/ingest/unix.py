"""Read Unix stream connections: chunks of bytes in, chunks of packets into the inbox.

Nobody who connects is made to wait, except a client that asked for it in its first frame
(`{"type":"hello","flow":true}`): for that one the reading pauses instead, and it sees a full socket.
"""

import errno
import math
import socket
from collections.abc import Callable, Iterator
from typing import Final

import trio

from trace_agent.core.counts import Carrier, Counts
from trace_agent.core.errors import FrameError, PacketError, Reason
from trace_agent.core.frames import StreamSplitter
from trace_agent.dialects.native import Form, form_of, hello_of, values
from trace_agent.ingest.inbox import Inbox
from trace_agent.ingest.reading import Chunk, greet
from trace_agent.ingest.unix_listener import UnixListener

__all__ = ["UnixConnection", "serve_unix"]

# More than a sender's buffer holds by default (208 KiB): one look empties it, and it never stays full.
_READ_BYTES: Final = 256 * 1024
# A frame that does not become whole in this time never will, and it holds memory.
_FRAME_TIMEOUT_S: Final = 30.0
_LAST_READ_S: Final = 0.2
_CONNECTIONS: Final = 256
# A hello is a few words; a first frame that is larger is no hello.
_HELLO_BYTES: Final = 4096
# As trio's own serve_listeners: limits of the process or the system, which pass when others close.
_PASSING: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.ECONNABORTED})


async def serve_unix(listener: UnixListener, inbox: Inbox, counts: Counts, now_ms: Callable[[], int]) -> None:
    """Accept and read connections until cancelled, then what their kernel buffers hold.

    Resource handling: connections are closed here, the listener by the caller.
    Error handling: what a peer sends ends its own connection at worst; being out of file descriptors
    is waited out.
    """
    open_connections = 0

    async def serve_one(stream: trio.SocketStream) -> None:
        nonlocal open_connections
        open_connections += 1
        connection = UnixConnection(inbox, counts, now_ms)
        try:
            async with stream:
                if open_connections > _CONNECTIONS:
                    # Left waiting, it would fill its buffer and then be stuck; closed, it knows.
                    connection.refuse(Reason.CROWDED)
                    return
                try:
                    await connection.read(stream)
                except trio.Cancelled:
                    # What the kernel holds was sent before we were told to stop.
                    with trio.move_on_after(_LAST_READ_S, shield=True):
                        await connection.read(stream)
                    raise
        finally:
            connection.close()
            open_connections -= 1

    async with trio.open_nursery() as nursery:
        try:
            while True:
                nursery.start_soon(serve_one, await _accept(listener.socket))
        except trio.Cancelled:
            # Those in the queue have connected, and perhaps sent all they had, before that too.
            for stream in _queued(listener.socket):
                nursery.start_soon(serve_one, stream)
            raise


async def _accept(sock: trio.socket.SocketType) -> trio.SocketStream:
    while True:
        try:
            accepted, _ = await sock.accept()
        except OSError as error:
            if error.errno not in _PASSING:
                raise
            await trio.sleep(0.1)
        else:
            return trio.SocketStream(accepted)


def _queued(listening: trio.socket.SocketType) -> Iterator[trio.SocketStream]:
    """Accept without waiting, up to the connections that may be open."""
    plain = socket.socket(fileno=listening.fileno())
    try:
        for _ in range(_CONNECTIONS):
            accepted, _ = plain.accept()
            yield trio.SocketStream(trio.socket.from_stdlib_socket(accepted))
    except OSError:  # there are none left, or no file descriptors for them
        pass
    finally:
        plain.detach()


class UnixConnection:
    """One client's stream and what it asked for."""

    def __init__(self, inbox: Inbox, counts: Counts, now_ms: Callable[[], int]) -> None:
        self._inbox = inbox
        self._all_counts = counts
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
            await self._read(stream)
        except FrameError as error:
            await self._put(list(error.packets))
            self.refuse(error.reason)
        except trio.BrokenResourceError:
            # The client is gone without a word; what it sent whole is kept.
            if self._splitter.pending_bytes:
                self.refuse(Reason.TRUNCATED)
        except Exception as error:  # noqa: BLE001 - what a client sends ends its own connection (DESIGN 11)
            self._inbox.complaints.bug(Carrier.UNIX, error)
            self.refuse(Reason.INTERNAL)

    async def _read(self, stream: trio.abc.ReceiveStream) -> None:
        whole_by_s = math.inf
        while True:
            with trio.move_on_at(whole_by_s) as waiting:
                data = await stream.receive_some(_READ_BYTES)
            if waiting.cancelled_caught:
                self.refuse(Reason.SLOW)
                return
            if not data:
                await self._put(self._splitter.finish())
                return
            arrived_s = trio.current_time()
            packets = self._splitter.feed(bytes(data))
            # What was held for a frame that is whole now must not stand in its own way.
            self.close()
            await self._put(packets)
            await self._hold_pending()
            if not self._splitter.pending_bytes:
                whole_by_s = math.inf
            elif packets or whole_by_s == math.inf:
                whole_by_s = trio.current_time() + _FRAME_TIMEOUT_S
            else:  # while we did not read, the client could not go on
                whole_by_s += trio.current_time() - arrived_s

    async def _put(self, packets: list[bytes]) -> None:
        if not packets:
            return
        if self._first:
            self._first = False
            if self._greeted(packets[0]):
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
        greet(self._all_counts, hello)
        self._counts.received += 1
        self._counts.received_bytes += len(packet)
        self._counts.accepted += 1
        self._counts.last_ms = self._now_ms()
        return True

    async def _hold_pending(self) -> None:
        """Count the bytes of an unfinished frame into the ring."""
        pending_bytes = self._splitter.pending_bytes
        if not pending_bytes:
            return
        if not self._inbox.reserve_nowait(pending_bytes):
            if not self._flow:
                raise FrameError(Reason.RING_FULL)
            # Bounded, because clients that each hold half a frame could wait for each other for ever.
            with trio.move_on_after(_FRAME_TIMEOUT_S) as waiting:
                await self._inbox.reserve(pending_bytes)
            if waiting.cancelled_caught:
                raise FrameError(Reason.RING_FULL)
        self._reserved_bytes = pending_bytes

    def refuse(self, reason: Reason) -> None:
        """Count what cannot become a packet any more."""
        self._counts.received += 1
        # No room is our trouble, not the client's fault.
        tally = self._counts.dropped if reason is Reason.RING_FULL else self._counts.refused
        tally[reason] += 1
        self._inbox.complaints.note(Carrier.UNIX, reason, self._splitter.pending_bytes)
