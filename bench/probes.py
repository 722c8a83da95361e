"""Look at a trace-agent while it is under load: nothing in, latencies and memory over time out.

Threads that are hardly ever busy: `/health` each 50 ms, the resident size each 50 ms, and a marked event
over HTTP each 50 ms, whose row another one waits for in the database, read-only. That is its time to
commit; the answer to `?sync=1` would not be, as it makes trace-agent commit at once.
"""

import contextlib
import math
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from attrs import Factory, define

from bench.agent import Memory, Target
from bench.client import Client

__all__ = ["Probes", "percentile", "watch"]

_EACH_S = 0.05
# Under load an answer takes a while, so several connections take turns.
_MARKERS = 8
# How long rows of the last markers are waited for, and how often the database is looked into.
_LAST_ROWS_S = 5.0
_ROWS_EACH_S = 0.005
# Exact memory costs the watched process time (its page tables are locked), so it is read less often.
_MEMORY_EACH_S = 1.0


@define
class Probes:
    """What was seen.

    Attributes:
        health_s: answer times of /health that were 200.
        health_failures: answers that were not 200, or did not come.
        commit_s: times from sending a marked event until its row can be read by others.
        markers: marked events sent, whatever came of them.
        markers_refused: how many of them were refused or not answered.
        peak_rss: the largest resident size seen, in bytes.
        peak_memory: the exact figures with the most private memory.
        markers_done: set it to send no further markers, while the rest goes on.
    """

    health_s: list[float] = Factory(list)
    health_failures: list[str] = Factory(list)
    commit_s: list[float] = Factory(list)
    markers: int = 0
    markers_refused: int = 0
    peak_rss: int | None = None
    peak_memory: Memory | None = None
    markers_done: threading.Event = Factory(threading.Event)
    _lock: threading.Lock = Factory(threading.Lock)
    _pending: dict[str, float] = Factory(dict)

    def ask_health(self, client: Client) -> None:
        """Time one /health."""
        begun = time.monotonic()
        try:
            answer = client.get("/health")
        except OSError as error:
            self.health_failures.append(f"{type(error).__name__} after {time.monotonic() - begun:.2f} s")
            return
        if answer.status == 200:
            self.health_s.append(time.monotonic() - begun)
        else:
            self.health_failures.append(f"{answer.status} {answer.body[:200]!r}")

    def mark(self, client: Client, event_id: str) -> None:
        """Send one marked event."""
        body = f'{{"type":"event","name":"bench.marker","agent":"bench","id":"{event_id}"}}'.encode()
        begun = time.monotonic()
        accepted = False
        # Overload answers 503, and the connection limit may close on us: both are counted, not fatal.
        with contextlib.suppress(OSError):
            accepted = client.post("/v1/events", body, "application/json").status == 202
        with self._lock:
            self.markers += 1
            if accepted:
                self._pending[event_id] = begun
            else:
                self.markers_refused += 1

    def find_rows(self, connection: sqlite3.Connection) -> None:
        """Look which marked events have become rows."""
        with self._lock:
            pending = list(self._pending.items())
        for event_id, begun in pending:
            if connection.execute("SELECT 1 FROM events WHERE id = ?", (event_id,)).fetchone() is None:
                # They are committed in the order they came in; the next ones are not there either.
                return
            self.commit_s.append(time.monotonic() - begun)
            with self._lock:
                del self._pending[event_id]

    @property
    def awaits_rows(self) -> bool:
        """Say whether a marked event was accepted whose row has not been seen."""
        return bool(self._pending)

    def weigh(self, target: Target) -> None:
        """Note the resident size."""
        rss = target.rss_bytes()
        if rss is not None:
            self.peak_rss = max(self.peak_rss or 0, rss)

    def weigh_exactly(self, target: Target) -> None:
        """Note exact memory figures."""
        memory = target.memory()
        known = self.peak_memory
        if memory is not None and (known is None or (memory.private or 0) > (known.private or 0)):
            self.peak_memory = memory


@contextlib.contextmanager
def watch(target: Target, run: str, *, database: Path | None) -> Iterator[Probes]:
    """Observe `target` until the block ends.

    Args:
        target: what to observe.
        run: first part of the markers' ids.
        database: where to look for the markers' rows; None sends no markers.
    """
    probes, done = Probes(), threading.Event()
    health = Client(target.host, target.port, 5.0)
    clients = [Client(target.host, target.port, 30.0) for _ in range(_MARKERS if database else 0)]
    threads = [
        _repeat(lambda _turn: probes.ask_health(health), done, _EACH_S),
        _repeat(lambda _turn: probes.weigh(target), done, _EACH_S),
        _repeat(lambda _turn: probes.weigh_exactly(target), done, _MEMORY_EACH_S),
    ]
    for number, client in enumerate(clients):

        def mark(turn: int, client: Client = client, number: int = number) -> None:
            probes.mark(client, f"{run}-m{number}-{turn}")

        threads.append(_repeat(mark, probes.markers_done, _MARKERS * _EACH_S, number * _EACH_S))
    if database is not None:
        threads.append(_start(lambda: _wait_rows(probes, database, done)))
    try:
        yield probes
    finally:
        done.set()
        probes.markers_done.set()
        for thread in threads:
            thread.join()
        for client in (health, *clients):
            client.close()


def _wait_rows(probes: Probes, database: Path, done: threading.Event) -> None:
    """Look for the rows of marked events until `done` and the last one is there, or given up."""
    uri = f"file:{database}?mode=ro"
    with contextlib.closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as connection:
        while not done.wait(_ROWS_EACH_S):
            probes.find_rows(connection)
        deadline = time.monotonic() + _LAST_ROWS_S
        while probes.awaits_rows and time.monotonic() < deadline:
            time.sleep(_ROWS_EACH_S)
            probes.find_rows(connection)


def percentile(values: list[float], share: float) -> float | None:
    """Return the smallest value that at least `share` of all values do not exceed; None without values."""
    if not values:
        return None
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def _repeat(
    act: Callable[[int], None], done: threading.Event, each_s: float, first_s: float = 0.0
) -> threading.Thread:
    """Call `act` with 0, 1, .. at a steady beat until `done`; a beat missed by a slow call is left out."""

    def run() -> None:
        begun = time.monotonic() + first_s
        turn = 0
        while not done.wait(max(0.0, begun + turn * each_s - time.monotonic())):
            act(turn)
            turn = max(turn + 1, math.ceil((time.monotonic() - begun) / each_s))

    return _start(run)


def _start(run: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread
