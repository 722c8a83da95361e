"""Drain a UDP socket: datagrams in, chunks of packets into the inbox.

The shape of the loop decides how much Python can receive. Measured per datagram: an awaited receive
7-9 us, waiting until readable and then draining to the end 2.4-2.7 us. A wake-up costs 50-75 us, so
after a drain that found a lot the loop sleeps before it waits again, and the kernel's queue, which is
asked to be large, holds what arrives meanwhile.
"""

import errno
import socket
import struct
from collections.abc import Callable
from typing import Final

import trio

from trace_agent.core.counts import Carrier, Counts
from trace_agent.core.errors import Reason
from trace_agent.ingest.inbox import Inbox
from trace_agent.ingest.reading import Chunk

__all__ = ["KernelDrops", "bind_udp", "queue_bytes", "serve_udp"]

# The default queue holds 256 small or 92 datagrams of 1 kB, a stall of 9 ms at 10,000 a second.
_QUEUE_BYTES: Final = 8 * 1024 * 1024
# Linux only, and not named in the socket module (asm-generic/socket.h).
_SO_RCVBUFFORCE: Final = 33
_SO_MEMINFO: Final = 55
# struct of nine u32; the last one counts drops (linux/sock_diag.h, SK_MEMINFO_DROPS).
_MEMINFO: Final = struct.Struct("=9I")
_DROPS: Final = 8

# Conditions of the network or the machine that pass; anything else is a broken socket.
_PASSING: Final = frozenset({errno.ECONNREFUSED, errno.ENETDOWN, errno.ENOBUFS, errno.ENOMEM})

_DATAGRAM_BYTES: Final = 65_535
# Must exceed what arrives during a sleep: 512 lost 17 % at 100,000 a second.
_DRAIN_PACKETS: Final = 1024
_DRAIN_BYTES: Final = 1024 * 1024
# A drain that found fewer is a trickle, where sleeping would cost more than it saves.
_BUSY_PACKETS: Final = 8
_SLEEP_S: Final = 0.002
# At the end: twice what a queue of `_QUEUE_BYTES` can hold, in small datagrams or in large ones.
_LAST_DRAINS: Final = 40
# Beyond this share of the ring the kernel does the dropping: it costs no time of ours, and it counts.
_LEAVE_TO_KERNEL_ABOVE: Final = 0.5


class KernelDrops:
    """Reads how many datagrams the kernel dropped because its queue was full; 3.5 us a look on Linux."""

    def __init__(self, sock: socket.socket | trio.socket.SocketType) -> None:
        self._sock = sock
        self._last = 0
        self.total = 0
        self.known = self.read() is not None

    def read(self) -> int | None:
        """Return the drops so far, or None where the kernel does not tell (macOS)."""
        try:
            info = self._sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
            drops = _MEMINFO.unpack(info)[_DROPS]
        except (OSError, struct.error):
            return None
        # A u32 that wraps; differences survive that.
        self.total += (drops - self._last) % 2**32
        self._last = drops
        return self.total


def bind_udp(host: str, port: int) -> trio.socket.SocketType:
    """Bind a UDP socket with a large receive queue.

    Raises:
        OSError: the address is taken or not ours.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        _ask_for_queue(sock)
        sock.bind((host, port))
    except BaseException:
        sock.close()
        raise
    sock.setblocking(False)
    return trio.socket.from_stdlib_socket(sock)


def queue_bytes(sock: trio.socket.SocketType) -> int:
    """Return the receive queue that the kernel granted; Linux counts its own overhead into it."""
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)


async def serve_udp(
    sock: trio.socket.SocketType,
    inbox: Inbox,
    counts: Counts,
    now_ms: Callable[[], int],
    *,
    leave_to_kernel: bool,
) -> None:
    """Receive until cancelled.

    Args:
        sock: bound, non-blocking.
        inbox: where packets go.
        counts: where those are counted that do not get there.
        now_ms: the wall clock, Unix milliseconds.
        leave_to_kernel: whether the kernel counts its drops, so that it may do the dropping in a flood.

    Resource handling: the socket is the caller's; closing it is too.
    """
    fd = sock.fileno()
    # A plain socket over the same descriptor: trio's own adds 5 us to each receive.
    plain = socket.socket(fileno=fd)
    view = memoryview(bytearray(_DATAGRAM_BYTES))
    try:
        while True:
            await trio.lowlevel.wait_readable(fd)
            if leave_to_kernel and inbox.lossy_share > _LEAVE_TO_KERNEL_ABOVE:
                await trio.sleep(_SLEEP_S)
                continue
            found = _drain(plain, view, inbox, counts, now_ms())
            if found == _DRAIN_PACKETS:
                await trio.lowlevel.checkpoint()
            elif found >= _BUSY_PACKETS:
                await trio.sleep(_SLEEP_S)
    finally:
        # What the kernel holds was sent before we were told to stop; bounded, as the sender may go on.
        for _ in range(_LAST_DRAINS):
            if not _drain(plain, view, inbox, counts, now_ms()):
                break
        plain.detach()


def _drain(sock: socket.socket, view: memoryview, inbox: Inbox, counts: Counts, now_ms: int) -> int:
    """Receive to the end of the queue or to the bound; return how many datagrams there were."""
    packets: list[bytes] = []
    size_bytes = found = 0
    receive = sock.recv_into
    tally = counts.packets[Carrier.UDP]
    try:
        while found < _DRAIN_PACKETS and size_bytes < _DRAIN_BYTES:
            # MSG_TRUNC makes Linux return the true length, so that a cut datagram cannot pass for whole.
            length = receive(view, 0, socket.MSG_TRUNC)
            found += 1
            if length > _DATAGRAM_BYTES:
                tally.received += 1
                tally.refused[Reason.TRUNCATED] += 1
                continue
            packets.append(bytes(view[:length]))
            size_bytes += length
    except BlockingIOError:
        pass
    except OSError as error:
        if error.errno not in _PASSING:
            raise
    if packets:
        inbox.put_nowait(Chunk(Carrier.UDP, packets, size_bytes, now_ms))
    return found


def _ask_for_queue(sock: socket.socket) -> None:
    if hasattr(socket, "SO_MARK"):  # Linux: a privileged process may pass net.core.rmem_max
        try:
            sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _QUEUE_BYTES)
        except OSError:
            pass
        else:
            return
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _QUEUE_BYTES)
    except OSError:  # macOS refuses what Linux would clamp
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024 * 1024)
