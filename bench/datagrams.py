"""Send datagrams many at a call: packets in one buffer in, sendmmsg(2) out.

Without it (macOS) each packet is one send(2): about 2 us more, so use several senders there.
"""

import ctypes
import os
import socket

from attrs import define, field

__all__ = ["DatagramSender"]


class _Iovec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Msghdr(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("iov", ctypes.POINTER(_Iovec)),
        ("iov_length", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Mmsghdr(ctypes.Structure):
    _fields_ = (("header", _Msghdr), ("sent", ctypes.c_uint))


_sendmmsg = getattr(ctypes.CDLL(None, use_errno=True), "sendmmsg", None)


@define
class DatagramSender:
    """Sends packets that lie one after the other in a buffer; the buffer may change between sends.

    Attributes:
        data: never resized while this exists.
        ends: where each packet ends.
    """

    host: str
    port: int
    data: bytearray
    ends: tuple[int, ...]
    _socket: socket.socket = field(init=False)
    _messages: "ctypes.Array[_Mmsghdr]" = field(init=False)
    _vectors: "ctypes.Array[_Iovec]" = field(init=False)

    def __attrs_post_init__(self) -> None:
        # Connected: no route look-up per datagram, and ECONNREFUSED tells of an agent that is gone.
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.connect((self.host, self.port))
        base = ctypes.addressof(ctypes.c_char.from_buffer(self.data))
        begins = (0, *self.ends)
        self._vectors = (_Iovec * len(self.ends))()
        self._messages = (_Mmsghdr * len(self.ends))()
        for number, end in enumerate(self.ends):
            self._vectors[number] = _Iovec(base + begins[number], end - begins[number])
            header = self._messages[number].header
            header.iov = ctypes.pointer(self._vectors[number])
            header.iov_length = 1

    def send(self, count: int) -> int:
        """Send the first `count` packets, and return how many the kernel took.

        Raises:
            OSError: it took none; ConnectionRefusedError when nobody listens.
        """
        if _sendmmsg is None:
            begins = (0, *self.ends)
            with memoryview(self.data) as view:
                for number in range(count):
                    self._socket.send(view[begins[number] : begins[number + 1]])
            return count
        done: int = _sendmmsg(self._socket.fileno(), self._messages, count, 0)
        if done < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        return done

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
