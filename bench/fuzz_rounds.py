"""Send fuzz in rounds, each over one carrier, each waited for until all of it is judged."""

import contextlib
import random
import socket
import time
from typing import Final

from attrs import Factory, define, field

from bench.agent import Target
from bench.client import Answer, Client, encode_request, read_answer
from bench.mutate import Mutator
from bench.tally import CARRIERS, Tally, read_tally
from bench.traps_http import bombs

__all__ = ["Fuzzer", "RoundFailedError"]

_UDP_LIMIT: Final = 65_507
_UDP_BURST: Final = 250
_JUDGED_LIMIT_S: Final = 30.0
# The order of a cycle: what is sent, and how many packets (connections, requests) of it.
_CYCLE: Final = (("udp", 2_400), ("frames", 1_200), ("streams", 100), ("requests", 400), ("damaged", 150))
_CARRIER_OF: Final = {
    "udp": "udp",
    "frames": "unix",
    "streams": "unix",
    "requests": "http",
    "damaged": "http",
}


# Requests and frames that are begun and left so, on connections that stay open.
_HALVES: Final = (b"", b"GET /hea", b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n")
_HALF_FRAMES: Final = (b"", b"\x10", b"\x00\x00\x10\x00\xa1\x61", b"a.b:1|")
# They are let go after some seconds, so they are begun anew now and then.
_SLOW_ROUNDS: Final = 100


class RoundFailedError(Exception):
    """Trace-agent did not answer, or did not judge what it was sent."""


@define
class Fuzzer:
    """Sends rounds.

    Attributes:
        sent: packets so far, over all carriers.
        carrier: what the last round was.
        slowest_health_s: the slowest /health, asked after each round.
        slowest_round: number and kind of the round after which it was.
    """

    target: Target
    seed: int
    sent: int = 0
    sent_by: dict[str, int] = Factory(lambda: dict.fromkeys(CARRIERS, 0))
    rounds: int = 0
    carrier: str = ""
    slowest_health_s: float = 0.0
    slowest_round: str = ""
    client: Client = field(init=False)
    _mutator: Mutator = field(init=False)
    _udp: socket.socket = field(init=False)
    _round: list[bytes] = Factory(list)
    _complaints: dict[str, int] = Factory(dict)
    _slow: list[socket.socket] = Factory(list)

    def __attrs_post_init__(self) -> None:
        self.client = Client(self.target.host, self.target.port, 10.0)
        self._mutator = Mutator(random.Random(self.seed))
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.connect((self.target.host, self.target.port))

    def round(self, limit: int) -> None:
        """Send one round of at most `limit` packets and wait until it is judged.

        Raises:
            RoundFailedError, OSError, ValueError: trace-agent does not do as it should.
        """
        if self.rounds % _SLOW_ROUNDS == 0:
            self._dawdle()
        self.carrier, size = _CYCLE[self.rounds % len(_CYCLE)]
        self.rounds += 1
        self._round.clear()
        before = _unix_received(read_tally(self.client))
        count = min(size, limit)
        send = {
            "udp": self._send_udp,
            "frames": self._send_frames,
            "streams": self._send_streams,
            "requests": self._send_requests,
            "damaged": self._send_damaged,
        }[self.carrier]
        send(count)
        self.sent += count
        self.sent_by[_CARRIER_OF[self.carrier]] += count
        self._ask_health()
        self._wait_judged(before + count if self.carrier == "frames" else None)

    def last_round(self) -> bytes:
        """Return all packets of the last round as lines of hexadecimal digits."""
        return b"\n".join(packet.hex().encode() for packet in self._round)

    def complaints(self) -> list[str]:
        """Return what was wrong without ending a round, with counts."""
        return [f"{text} ({count} times)" for text, count in self._complaints.items()]

    def close(self) -> None:
        """Close all sockets."""
        for stream in (self._udp, *self._slow):
            stream.close()
        self.client.close()

    def _dawdle(self) -> None:
        """Begin requests and frames that will never be whole, in the place of the earlier ones."""
        for stream in self._slow:
            stream.close()
        self._slow.clear()
        for half in _HALVES:
            self._slow.append(socket.create_connection((self.target.host, self.target.port), 10))
            self._slow[-1].sendall(half)
        for half in _HALF_FRAMES:
            self._slow.append(self._connect_unix())
            self._slow[-1].sendall(half)

    def _send_udp(self, count: int) -> None:
        for number in range(count):
            packet = self._mutator.packet(_UDP_LIMIT)
            self._round.append(packet)
            self._udp.send(packet)
            if number % _UDP_BURST == _UDP_BURST - 1:
                # The kernel's queue is shorter than a round: what it drops tests nothing.
                deadline = time.monotonic() + 1.0
                while self.target.udp_queue()[0] and time.monotonic() < deadline:
                    time.sleep(0.001)

    def _send_frames(self, count: int) -> None:
        """Send well-framed packets; they are all received, so they are counted exactly.

        The first frame of each connection is a harmless one: a damaged hello might ask for flow
        control, and a first byte of text would make a line-delimited connection of it.
        """
        left = count
        while left > 0:
            part = min(left, 100)
            left -= part
            data = (1).to_bytes(4, "little") + b"\xa0" + self._mutator.frames(part - 1, 256 * 1024)
            self._round.append(data)
            self._send_unix(data)

    def _send_streams(self, count: int) -> None:
        for _ in range(count):
            data = self._mutator.stream()
            self._round.append(data)
            # It closes on damage, and may do so before we have sent all.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self._send_unix(data)

    def _send_unix(self, data: bytes) -> None:
        with self._connect_unix() as stream:
            stream.sendall(data)

    def _connect_unix(self) -> socket.socket:
        stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        stream.settimeout(10)
        deadline = time.monotonic() + 10
        while True:
            try:
                stream.connect(self.target.socket_path)
                return stream
            except BlockingIOError:  # more connections wait to be accepted than its backlog holds
                if time.monotonic() > deadline:
                    stream.close()
                    raise
                time.sleep(0.001)

    def _send_requests(self, count: int) -> None:
        for _ in range(count):
            request = self._mutator.request(self.target.port)
            self._round.append(request)
            self._judge(self.client.ask(request), request)

    def _send_damaged(self, count: int) -> None:
        requests = [self._mutator.damaged_request(self.target.port) for _ in range(count)]
        if self.rounds % 50 == 0:
            requests[: len(bombs())] = bombs()
        for request in requests:
            self._round.append(request)
            with socket.create_connection((self.target.host, self.target.port), 10) as stream:
                try:
                    stream.sendall(request)
                    stream.shutdown(socket.SHUT_WR)
                    self._judge(read_answer(stream), request)
                except TimeoutError:
                    self._complain("HTTP: neither an answer nor an end within 10 s of ours")
                except OSError:
                    pass  # closed without an answer, or answered with what needs no length: it may

    def _judge(self, answer: Answer, request: bytes) -> None:
        if answer.status >= 500 and answer.status not in {501, 503, 505}:
            self._complain(f"HTTP: {answer.status} to {request[:100]!r}..")

    def _complain(self, text: str) -> None:
        if len(self._complaints) < 20 or text in self._complaints:
            self._complaints[text] = self._complaints.get(text, 0) + 1

    def _ask_health(self) -> None:
        begun = time.monotonic()
        answer = self.client.ask(encode_request("GET", "/health", self.target.port))
        took = time.monotonic() - begun
        if took > self.slowest_health_s:
            self.slowest_health_s, self.slowest_round = took, f"{self.rounds} ({self.carrier})"
        if answer.status != 200:
            raise RoundFailedError(f"/health answers {answer.status} {answer.body[:500]!r}")

    def _wait_judged(self, unix_received: int | None) -> None:
        deadline = time.monotonic() + _JUDGED_LIMIT_S
        while True:
            tally = read_tally(self.client)
            waiting = sum(packets.waiting for packets in tally.packets.values())
            received = _unix_received(tally)
            if waiting == 0 and (unix_received is None or received >= unix_received):
                if unix_received is not None and received > unix_received:
                    raise RoundFailedError(f"{received - unix_received} Unix packets more than were sent")
                if broken := tally.broken():
                    raise RoundFailedError("; ".join(broken))
                return
            if time.monotonic() > deadline:
                raise RoundFailedError(
                    f"{waiting} packets wait for their judgement after {_JUDGED_LIMIT_S:g} s"
                    f" (unix received {received}, sent {unix_received})"
                )
            time.sleep(0.003)


def _unix_received(tally: Tally) -> int:
    """Count Unix packets without the frames that we left unfinished, which are given up after a while."""
    unix = tally.packets["unix"]
    return unix.received - unix.refused.get("slow", 0)
