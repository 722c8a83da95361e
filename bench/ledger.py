"""Write numbered events and keep book of what was known to be accepted, and when.

Events have the ids `<prefix>-u<number>` (Unix) and `<prefix>-h<number>` (HTTP); numbers go on over the
deaths of the receiver, so no id is sent twice.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import cbor2
from attrs import Factory, define

from bench.agent import Target
from bench.client import Client
from bench.tally import read_tally

__all__ = ["Ledger", "write_events"]

_BATCH = 20
_LOOK_EACH_S = 0.05


@define
class Ledger:
    """What was sent since a start, and when it was known to be accepted.

    Attributes:
        first: number of the first event of both carriers.
        unix_sent: Unix frames written, the hello not counted.
        unix_known: (moment, how many of them were accepted by then), in order.
        http_sent: events of POSTs begun.
        http_known: (moment, number of the first event of a POST answered 202).
        faults: what must not happen: a refusal or a drop of what we sent.
    """

    prefix: str
    first: int
    unix_sent: int = 0
    unix_known: list[tuple[float, int]] = Factory(list)
    http_sent: int = 0
    http_known: list[tuple[float, int]] = Factory(list)
    faults: list[str] = Factory(list)

    @property
    def sent(self) -> int:
        """Return how many events left, by both carriers."""
        return self.unix_sent + self.http_sent

    @property
    def next(self) -> int:
        """Return the first number that neither carrier has used."""
        return self.first + max(self.unix_sent, self.http_sent) + _BATCH

    def accepted_before(self, moment: float) -> set[str]:
        """Return the ids that were known to be accepted at `moment`."""
        counts = [count for seen, count in self.unix_known if seen < moment]
        ids = {self._id("u", number) for number in range(min(max(counts, default=0), self.unix_sent))}
        for seen, first in self.http_known:
            if seen < moment:
                ids |= {self._id("h", first + index) for index in range(_BATCH)}
        return ids

    def all_sent(self) -> set[str]:
        """Return the ids of everything sent."""
        unix = {self._id("u", number) for number in range(self.unix_sent)}
        return unix | {self._id("h", number) for number in range(self.http_sent)}

    def event(self, carrier: str, offset: int) -> dict[str, object]:
        """Build the event of a number counted from `first`."""
        return {
            "type": "event",
            "id": self._id(carrier, offset),
            "name": "bench.numbered",
            "attributes": {"note": "x" * (offset % 400)},
        }

    def _id(self, carrier: str, offset: int) -> str:
        return f"{self.prefix}-{carrier}{self.first + offset:09}"


@contextlib.contextmanager
def write_events(target: Target, ledger: Ledger, rate: float) -> Iterator[None]:
    """Write to `target` until the block ends: five sixths of `rate` over Unix, one over HTTP.

    The connections are open when the block begins. When the receiver dies, writing ends quietly.
    """
    done = threading.Event()
    with contextlib.ExitStack() as stack:
        stream = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        stream.settimeout(10)
        stream.connect(target.socket_path)
        hello = {"type": "hello", "client": "bench", "version": "1", "pid": 1, "flow": True}
        stream.sendall(_frame(hello))
        threads = [
            threading.Thread(target=act, args=arguments, daemon=True)
            for act, arguments in (
                (_write_unix, (stream, ledger, rate * 5 / 6, done)),
                (_write_http, (target, ledger, rate / 6, done)),
                (_look, (target, ledger, done)),
            )
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            done.set()
            for thread in threads:
                thread.join()


def _write_unix(stream: socket.socket, ledger: Ledger, rate: float, done: threading.Event) -> None:
    begun = time.monotonic()
    while not done.wait(max(0.001, begun + (ledger.unix_sent + _BATCH) / rate - time.monotonic())):
        numbers = range(ledger.unix_sent, ledger.unix_sent + _BATCH)
        try:
            stream.sendall(b"".join(_frame(ledger.event("u", number)) for number in numbers))
        except OSError as error:
            if isinstance(error, TimeoutError):
                ledger.faults.append("a flow-controlled connection took nothing for 10 s")
            return
        ledger.unix_sent += _BATCH


def _write_http(target: Target, ledger: Ledger, rate: float, done: threading.Event) -> None:
    begun = time.monotonic()
    with contextlib.closing(Client(target.host, target.port)) as client:
        while not done.wait(max(0.001, begun + (ledger.http_sent + _BATCH) / rate - time.monotonic())):
            first = ledger.http_sent
            body = cbor2.dumps([ledger.event("h", first + index) for index in range(_BATCH)])
            ledger.http_sent += _BATCH
            try:
                answer = client.post("/v1/events", body, "application/cbor")
            except OSError:
                return
            if answer.status == 202 and answer.json().get("accepted") == _BATCH:
                ledger.http_known.append((time.monotonic(), first))
            else:
                ledger.faults.append(f"POST: {answer.status} {answer.body[:200]!r}")
                return


def _look(target: Target, ledger: Ledger, done: threading.Event) -> None:
    with contextlib.closing(Client(target.host, target.port)) as client:
        while not done.wait(_LOOK_EACH_S):
            try:
                unix = read_tally(client).packets["unix"]
            except OSError:
                return
            # Seen now, so accepted before now; one of them was the hello.
            ledger.unix_known.append((time.monotonic(), max(0, unix.accepted - 1)))
            if unix.refused or unix.dropped:
                ledger.faults.append(f"Unix: refused {unix.refused}, dropped {unix.dropped}")
                return


def _frame(event: dict[str, object]) -> bytes:
    payload = cbor2.dumps(event)
    return len(payload).to_bytes(4, "little") + payload
