"""Build every part from the settings and run them in order: `Settings` in, a running agent, counts out.

What stands downstream starts first and stops last (DESIGN 10): the writer outside, the readers of the
inbox inside it, the sources innermost. So every packet taken from a socket can be stored, and at the
end each ring is emptied into the next before that one stops.
"""

import gc
import logging
import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final

import trio

from trace_agent import __version__
from trace_agent.core.counts import Carrier, Counts
from trace_agent.core.errors import Reason, StoreError
from trace_agent.core.fields import EventReader
from trace_agent.core.guard import refuse
from trace_agent.core.http import Request, Response, error_response
from trace_agent.core.ids import IdMaker
from trace_agent.core.redact import Redactor
from trace_agent.core.ring import Budget, Ring
from trace_agent.core.rollup import Rollup
from trace_agent.core.settings import Settings
from trace_agent.ingest.complaints import Complaints
from trace_agent.ingest.http_service import serve_http
from trace_agent.ingest.inbox import Inbox
from trace_agent.ingest.posts import POST_TYPES, Posts
from trace_agent.ingest.reading import PacketReader
from trace_agent.ingest.sockets import Sockets
from trace_agent.ingest.udp import queue_bytes, serve_udp
from trace_agent.ingest.unix import serve_unix
from trace_agent.machine import now_ms, port_holder
from trace_agent.observe.heap import bound_arenas, keep_trimmed
from trace_agent.observe.own import LoopLag, read_own
from trace_agent.store.database import open_database
from trace_agent.store.preparation import Preparation
from trace_agent.store.prices_in_use import open_prices
from trace_agent.store.writer import Stored, Writer
from trace_agent.systemd import notify
from trace_agent.views.api import METHODS, Api, serves
from trace_agent.views.figures import read_figures
from trace_agent.views.readonly import snapshot
from trace_agent.views.stats import Listener, Live

__all__ = ["Agent", "run"]

log = logging.getLogger(__name__)

_MB: Final = 1024 * 1024
# How long a stop may wait for packets to be read, and for the last commit.
_DRAIN_TIMEOUT_S: Final = 10.0
_COMMIT_TIMEOUT_S: Final = 10.0


class Agent:
    """All parts, wired together; made in one piece or not at all.

    Args:
        settings: checked.

    Raises:
        SettingsError: `prices_file` or `socket_group` cannot be used.
        StoreError: the database or the price table cannot be opened.
        ListenError: an address cannot be listened on.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.counts = Counts()
        self.started_ms = now_ms()
        self.stopping = trio.Event()
        with ExitStack() as undo:
            self._preparation = _preparation(settings)
            undo.callback(self._preparation.close)
            self.database = open_database(Path(settings.db), self.started_ms)
            undo.callback(self.database.close)
            self._sockets = Sockets(settings, port_holder)
            undo.pop_all()
        self._kernel_drops = [drops for _, drops in self._sockets.udp]
        new_id = IdMaker(os.urandom)
        budget = Budget(settings.ring_mb * _MB)
        self.rollup = Rollup(max_series=settings.max_series, new_id=new_id)
        self.writer = Writer(
            database=self.database,
            ring=Ring[Stored](budget),
            rollup=self.rollup,
            counts=self.counts.events,
            flush_interval_s=settings.flush_interval_s,
            now_ms=now_ms,
            new_id=new_id,
            preparation=self._preparation,
        )
        complaints = Complaints(now_ms)
        packet_reader = PacketReader(
            budget=budget,
            counts=self.counts,
            reader=EventReader(new_id, self._clamped),
            rollup=self.rollup,
            sink=self.writer,
            complaints=complaints,
        )
        self.inbox = Inbox(
            budget=budget,
            counts=self.counts,
            sink=self.writer,
            complaints=complaints,
            read=packet_reader.read,
        )
        self.lag = LoopLag()
        self._budget = budget
        self._posts = Posts(self.inbox, self.counts, self.writer.flush, now_ms)
        self._api = Api(
            db=Path(settings.db),
            has_token=settings.token is not None,
            now_ms=now_ms,
            live=self.live,
            series=self.rollup.series,
        )

    @property
    def listeners(self) -> tuple[Listener, ...]:
        """Return what packets come in by, with real addresses."""
        return (
            *(
                Listener(Carrier.UDP, _address(sock), drops.read(), queue_bytes(sock))
                for sock, drops in self._sockets.udp
            ),
            *(Listener(Carrier.HTTP, _address(listener.socket)) for listener in self._sockets.http),
            Listener(Carrier.UNIX, str(self._sockets.unix.path)),
        )

    @property
    def kernel_drops(self) -> int:
        """Return how many datagrams the kernel dropped, as of the last look."""
        return sum(drops.total for drops in self._kernel_drops)

    async def run(self, task_status: trio.TaskStatus["Agent"] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until `stopping` is set, then store all that was received.

        Resource handling: closes sockets and database, whatever happens.
        Error handling: a bug of ours in any part stops all of them and escapes.
        """
        try:
            async with trio.open_nursery() as store:
                store.start_soon(self.writer.run)
                store.start_soon(self.writer.check_file)
                store.start_soon(self.lag.run)
                store.start_soon(keep_trimmed)
                async with trio.open_nursery() as readers:
                    readers.start_soon(self.inbox.run)
                    async with trio.open_nursery() as sources, trio.open_nursery() as streams:
                        self._start_sources(sources, streams)
                        task_status.started(self)
                        await self.stopping.wait()
                        streams.cancel_scope.cancel()
                    for drops in self._kernel_drops:
                        drops.read()
                    # What is sent from here on would never be read: its senders had better know.
                    self._sockets.close()
                    with trio.move_on_after(_DRAIN_TIMEOUT_S):
                        await self.inbox.drained()
                    readers.cancel_scope.cancel()
                with trio.move_on_after(_COMMIT_TIMEOUT_S):
                    await self.writer.flush()
                store.cancel_scope.cancel()
        finally:
            self.inbox.abandon()
            self.writer.close()
            self._preparation.close()
            self._sockets.close()

    def live(self) -> Live:
        """Take the figures that only the running agent has."""
        own = read_own()
        db = Path(self.settings.db)
        return Live(
            version=__version__,
            pid=os.getpid(),
            started_ms=self.started_ms,
            now_ms=now_ms(),
            counts=self.counts,
            packets_waiting=self.inbox.waiting,
            events_waiting=self.writer.waiting,
            ring_used_bytes=self._budget.used_bytes,
            ring_peak_bytes=self._budget.peak_bytes,
            ring_limit_bytes=self._budget.limit_bytes,
            listeners=self.listeners,
            writer=self.writer.state,
            stuck=self.writer.stuck,
            db=db,
            db_bytes=_size(db),
            wal_bytes=_size(db.with_name(f"{db.name}-wal")),
            disk_free_bytes=_free(db.parent),
            rss_bytes=own.rss_bytes,
            private_bytes=own.private_bytes,
            cpu_s=own.cpu_s,
            gc_collections=own.gc_collections,
            loop_lag_p99_ms=self.lag.p99_ms,
            loop_lag_max_ms=self.lag.max_ms,
            series=len(self.rollup),
            series_overflowed=self.rollup.overflowed,
        )

    async def handle(self, request: Request) -> Response:
        """Answer one HTTP request."""
        takes = request.path in POST_TYPES
        reads = serves(request.path)
        refusal = refuse(request, self.settings.http_hosts, self.settings.token)
        if refusal is not None:
            if takes and request.method == "POST":
                packets = self.counts.packets[Carrier.HTTP]
                packets.received += 1
                packets.refused[Reason.UNAUTHORIZED if refusal.status == 401 else Reason.FORBIDDEN] += 1
            return refusal
        if takes and request.method == "POST":
            return await self._posts.answer(request)
        if reads and request.method in METHODS:
            return await self._api.answer(request)
        if takes or reads:
            allowed = (*METHODS, "POST") if takes and reads else METHODS if reads else ("POST",)
            return error_response(
                405, "method_not_allowed", f"allowed: {', '.join(allowed)}", (("Allow", ", ".join(allowed)),)
            )
        return error_response(404, "not_found", "there is no such path; see /openapi.json")

    def _start_sources(self, sources: trio.Nursery, streams: trio.Nursery) -> None:
        """Start what receives; HTTP ends by itself, because requests in progress want their answers."""
        for listener in self._sockets.http:
            sources.start_soon(
                serve_http, listener, self.handle, self.inbox, self.inbox.complaints, self.stopping
            )
        for sock, drops in self._sockets.udp:
            serve = partial(serve_udp, leave_to_kernel=drops.known)
            streams.start_soon(serve, sock, self.inbox, self.counts, now_ms)
        streams.start_soon(serve_unix, self._sockets.unix, self.inbox, self.counts, now_ms)

    def _clamped(self) -> None:
        self.counts.events.ts_clamped += 1


async def run(settings: Settings, begun_ms: int) -> int:
    """Run an agent until SIGTERM or SIGINT; a second one ends it at once.

    Args:
        settings: checked.
        begun_ms: when the process began, Unix milliseconds.

    Returns:
        The exit code: 1 if a law of CONTRACT section 4 does not hold at the end.

    Raises:
        StoreError: the database cannot be opened.
        ListenError: an address cannot be listened on.
    """
    bound_arenas()
    agent = Agent(settings)
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as watch:
            async with trio.open_nursery() as running:
                await running.start(agent.run)
                watch.start_soon(_stop_on_signal, agent, signals)
                for listener in agent.listeners:
                    log.info("listening: %s", _described(listener))
                # What the start built stays for good: the collector need not look at it again.
                gc.collect()
                gc.freeze()
                log.info("ready in %d ms: pid %d, database %s", now_ms() - begun_ms, os.getpid(), settings.db)
                notify("READY=1", os.environ)
            watch.cancel_scope.cancel()
    return _farewell(agent)


async def _stop_on_signal(agent: Agent, signals: AsyncIterator[int]) -> None:
    async for number in signals:
        if agent.stopping.is_set():
            log.warning("%s again: ending at once", signal.Signals(number).name)
            # Neither rings nor threads are waited for; what was committed is safe.
            os._exit(128 + number)
        log.info("%s: storing what was received", signal.Signals(number).name)
        notify("STOPPING=1", os.environ)
        agent.stopping.set()


def _preparation(settings: Settings) -> Preparation:
    """Read what the settings say about words and prices.

    Raises:
        SettingsError: `prices_file` cannot be used.
        StoreError: the price table cannot be read.
    """
    return Preparation(
        redactor=Redactor(settings.redact_patterns) if settings.redact else None,
        text=settings.text,
        limit_bytes=settings.max_text_kb * 1024,
        prices=open_prices(settings),
    )


def _farewell(agent: Agent) -> int:
    """Print the laws of CONTRACT section 4 as they stand at the end; return the exit code."""
    for carrier, packets in agent.counts.packets.items():
        log.info(
            "%s packets: received %d = accepted %d + refused %d + dropped %d%s",
            carrier, packets.received, packets.accepted, packets.refused.total(), packets.dropped.total(),
            f"; dropped by the kernel before: {agent.kernel_drops}" if carrier is Carrier.UDP else "",
        )  # fmt: skip
    events = agent.counts.events
    log.info(
        "events: accepted %d = stored %d + merged %d + repeated %d + folded %d + dead %d + dropped %d",
        events.accepted, events.stored, events.merged, events.repeated, events.folded, events.dead,
        events.dropped.total(),
    )  # fmt: skip
    broken = agent.counts.laws_broken({}, 0)
    try:
        with snapshot(Path(agent.settings.db)) as connection:
            rows = read_figures(connection)
    except StoreError as error:
        log.error("rows: %s", error)  # noqa: TRY400 - the message says it all
    else:
        log.info(
            "rows: stored %d = acked %d + pending %d + pruned %d",
            rows.stored, rows.acked, rows.pending, rows.pruned,
        )  # fmt: skip
        if not rows.law_holds:
            broken.append("rows do not add up")
    for law in broken:
        log.error("law broken, please report it: %s", law)
    return 1 if broken else 0


def _described(listener: Listener) -> str:
    if listener.carrier is Carrier.UDP:
        queue_kib = (listener.receive_buffer_bytes or 0) // 1024
        return f"udp {listener.address}, receive queue {queue_kib} KiB"
    return (
        f"http http://{listener.address}" if listener.carrier is Carrier.HTTP else f"unix {listener.address}"
    )


def _address(sock: trio.socket.SocketType) -> str:
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _free(directory: Path) -> int | None:
    try:
        return shutil.disk_usage(directory).free
    except OSError:  # somebody has removed it; the store says so
        return None
