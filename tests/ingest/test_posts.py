"""Events that come by HTTP have a fate each, and their sender is told which."""

import gzip
import json
from collections import Counter
from collections.abc import AsyncIterator

import cbor2
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.ingest.peer import Answer, Peer
from tests.ingest.rig import NOW_MS, FakeSink, Rig, named, packet
from trace_agent.core.counts import Carrier
from trace_agent.core.errors import Reason
from trace_agent.core.events import Event, Failure, Llm
from trace_agent.ingest import http1
from trace_agent.ingest.posts import Posts

JSON = "application/json"


class Desk:
    """A client of the POST routes, and what stands behind them."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.flushes = 0
        self.stuck = False
        posts = Posts(rig.inbox, rig.counts, self.flush, rig.now_ms)
        self.peer = Peer(rig, posts.answer)

    async def flush(self) -> None:
        """Store everything, or hang."""
        self.flushes += 1
        if self.stuck:
            await trio.sleep_forever()
        self.rig.sink.store()

    async def post(self, path: str, body: bytes, media_type: str | None = JSON, **headers: str) -> Answer:
        """Send a POST and return its answer."""
        fields = headers if media_type is None else {"Content-Type": media_type} | headers
        return await self.peer.request("POST", path, body, fields)

    def fate(self) -> tuple[int, int, Counter[Reason], Counter[Reason]]:
        """Return received, accepted, refused and dropped packets."""
        return self.rig.fate(Carrier.HTTP)


async def open_desk(rig: Rig, nursery: trio.Nursery) -> Desk:
    """Start all that a client needs."""
    desk = Desk(rig)
    nursery.start_soon(desk.peer.serve)
    nursery.start_soon(rig.inbox.run)
    return desk


@pytest.fixture
async def desk(rig: Rig, nursery: trio.Nursery) -> AsyncIterator[Desk]:
    """Return a client; no bug may come to light."""
    desk = await open_desk(rig, nursery)
    yield desk
    assert desk.peer.bugs.found == []


def told(answer: Answer) -> object:
    """Return the JSON of an answer."""
    assert answer.headers["content-type"] == JSON
    return json.loads(answer.body)


def error_of(answer: Answer) -> tuple[int, str]:
    """Return status and code of an error."""
    return answer.status, json.loads(answer.body)["error"]["code"]


@pytest.mark.parametrize(
    ("media_type", "body"),
    [
        (JSON, packet("a")),
        (JSON, packet("a", "b")),
        ("Application/JSON; charset=utf-8", json.dumps({"events": [named("a")]}).encode()),
        ("application/cbor", cbor2.dumps(named("a"))),
        ("application/x-ndjson", packet("a") + b"\n" + packet("b") + b"\n"),
    ],
)
async def test_media_types(desk: Desk, media_type: str, body: bytes) -> None:
    """Each kind of body is taken, and the answer says how many events it held."""
    answer = await desk.post("/v1/events", body, media_type)

    assert answer.status == 202
    assert told(answer) == {"accepted": len(desk.rig.names), "rejected": []}
    assert desk.fate() == (1, 1, Counter(), Counter())
    assert desk.rig.counts.packets[Carrier.HTTP].received_bytes == len(body)
    assert desk.rig.counts.packets[Carrier.HTTP].last_ms == NOW_MS


@pytest.mark.parametrize(
    "media_type",
    [
        None,
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/jsonp",
        "text/plain; application/json",
        "application/x-protobuf",
    ],
)
async def test_other_media_types(desk: Desk, media_type: str | None) -> None:
    """Any other type, or none, is refused: these are what a web page may send without being asked."""
    answer = await desk.post("/v1/events", packet("a"), media_type)

    assert error_of(answer) == (415, "media_type")
    assert desk.fate() == (1, 0, {Reason.MEDIA_TYPE: 1}, Counter())
    assert desk.rig.names == []


@pytest.mark.parametrize(
    ("path", "kind"), [("/v1/traces", Llm), ("/v1/events", Event), ("/v1/errors", Failure)]
)
async def test_implied_types(desk: Desk, path: str, kind: type) -> None:
    """The path says what an event is that does not say it itself; one that does is believed."""
    body = json.dumps([{"name": "a", "kind": "x.y"}, named("b")]).encode()
    await desk.post(path, body)

    assert [type(event) for event in desk.rig.sink.events] == [kind, Event]


async def test_partly_refused(desk: Desk) -> None:
    """Events that cannot be read are told by their place and reason; the others are taken."""
    body = json.dumps([named("a"), {"type": "x"}, named("b"), {}]).encode()
    answer = await desk.post("/v1/events", body)

    assert answer.status == 202
    assert told(answer) == {
        "accepted": 2,
        "rejected": [
            {"index": 1, "reason": "unknown_type: type must be llm, event, error or metric"},
            {"index": 3, "reason": "missing_field: name is required"},
        ],
    }
    assert desk.rig.names == ["a", "b"]


@pytest.mark.parametrize("path", ["/v1/events", "/v1/events?sync=1"])
async def test_all_refused(desk: Desk, path: str) -> None:
    """When nothing was taken that is an error, with the same answer, and nothing is waited for."""
    answer = await desk.post(path, b"[{},{}]")

    assert answer.status == 400
    assert told(answer) == {
        "accepted": 0,
        "rejected": [{"index": n, "reason": "missing_field: name is required"} for n in (0, 1)],
    }
    assert desk.fate() == (1, 0, {Reason.MISSING_FIELD: 1}, Counter())
    assert desk.flushes == 0


async def test_nothing_to_take(desk: Desk) -> None:
    """An empty batch is no error."""
    answer = await desk.post("/v1/events", b"[]")

    assert (answer.status, told(answer)) == (202, {"accepted": 0, "rejected": []})


@pytest.mark.parametrize(
    ("body", "media_type", "headers", "status", "reason"),
    [
        (b"", JSON, {}, 400, Reason.EMPTY),
        (b" \r\n", JSON, {}, 400, Reason.EMPTY),
        (b"", JSON, {"Content-Encoding": "gzip"}, 400, Reason.EMPTY),
        (b"{", JSON, {}, 400, Reason.BAD_JSON),
        (b"\xff\xfe{\0}\0", JSON, {}, 400, Reason.BAD_ENCODING),
        (b"[" * 100_000, JSON, {}, 400, Reason.TOO_DEEP),
        (b"\xa1", "application/cbor", {}, 400, Reason.BAD_CBOR),
        (cbor2.dumps({}) + b"\0", "application/cbor", {}, 400, Reason.TRAILING_BYTES),
        (b"a:1|c", JSON, {}, 400, Reason.BAD_JSON),
        (packet("a"), JSON, {"Content-Encoding": "br"}, 415, Reason.MEDIA_TYPE),
        (packet("a"), JSON, {"Content-Encoding": "gzip"}, 400, Reason.BAD_ENCODING),
        (gzip.compress(packet("a"))[:-2], JSON, {"Content-Encoding": "gzip"}, 400, Reason.TRUNCATED),
    ],
)
async def test_unreadable(
    desk: Desk, body: bytes, media_type: str, headers: dict[str, str], status: int, reason: Reason
) -> None:
    """A body that cannot be read is refused with its reason, counted, and the connection goes on."""
    answer = await desk.post("/v1/events", body, media_type, **headers)
    after = await desk.post("/v1/events", packet("b"))

    assert error_of(answer) == (status, str(reason))
    assert after.status == 202
    assert desk.fate() == (2, 1, {reason: 1}, Counter())
    assert desk.rig.names == ["b"]


async def test_too_large(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body over the limit is refused, and the limit is told."""
    monkeypatch.setattr(http1, "BODY_LIMIT_BYTES", 1000)
    answer = await desk.post("/v1/events", bytes(1001))

    assert error_of(answer) == (413, "too_large")
    assert b"1000 bytes" in answer.body
    assert desk.fate() == (1, 0, {Reason.TOO_LARGE: 1}, Counter())


async def test_slow_body(desk: Desk, autojump_clock: MockClock) -> None:
    """A body that does not come is given up, and its sender told so."""
    await desk.peer.send(
        b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
    )
    received = await desk.peer.rest()

    assert received.startswith(b"HTTP/1.1 408 ")
    assert desk.fate() == (1, 0, {Reason.SLOW: 1}, Counter())


async def test_gone_in_mid_body(desk: Desk) -> None:
    """A sender that goes away within a body has sent a packet that never became whole."""
    await desk.peer.send(
        b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
    )
    await desk.peer.stream.aclose()
    await wait_all_tasks_blocked()

    assert desk.peer.ended
    assert desk.fate() == (1, 0, {Reason.BAD_REQUEST: 1}, Counter())


async def test_stopped_in_mid_body(rig: Rig) -> None:
    """So has one whose body was still coming when we had to stop."""
    async with trio.open_nursery() as nursery:
        desk = await open_desk(rig, nursery)
        await desk.peer.send(
            b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
        )
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()

    assert rig.fate(Carrier.HTTP) == (1, 0, {Reason.TRUNCATED: 1}, Counter())


async def test_sync(desk: Desk) -> None:
    """With `sync=1` the answer comes when the rows are committed, and says so by its status."""
    answer = await desk.post("/v1/events?sync=1", packet("a", 7, "b"))
    waiting = len(desk.rig.sink.events)
    other = await desk.post("/v1/events?sync=0", packet("c"))

    assert (answer.status, told(answer)) == (200, {"accepted": 3, "rejected": []})
    assert waiting == 0
    assert other.status == 202
    assert desk.flushes == 1


async def test_sync_and_a_stuck_store(desk: Desk, autojump_clock: MockClock) -> None:
    """When that takes longer than 5 s the sender hears that it was accepted, and not committed."""
    desk.stuck = True
    answer = await desk.post("/v1/events?sync=1", packet("a"))

    assert error_of(answer) == (503, "not_committed")
    assert answer.headers["retry-after"] == "1"
    assert trio.current_time() == pytest.approx(5)
    assert desk.rig.names == ["a"]


async def test_full_ring(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """Where there is no room for events within 5 s, the sender is told to come again, and none is taken."""
    rig = Rig(limit_events=2)
    desk = await open_desk(rig, nursery)
    await desk.post("/v1/events", packet("a", "b"))
    rig.sink.stuck = True
    answer = await desk.post("/v1/events", packet("c"))
    after_s = trio.current_time()
    await trio.sleep(60)
    rig.sink.store()
    await trio.sleep(60)

    assert error_of(answer) == (503, "ring_full")
    assert answer.headers["retry-after"] == "1"
    assert after_s == pytest.approx(5)
    assert rig.names == []
    assert desk.fate() == (2, 1, Counter(), {Reason.RING_FULL: 1})
    assert rig.counts.events.dropped == {}
    assert (rig.broken(), rig.budget.used_bytes) == ([], 0)


async def test_room_for_some(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """Where there is room for some events of a batch, they are taken, and the sender hears where to go on."""
    rig = Rig(limit_events=3)
    rig.sink.stuck = True
    desk = await open_desk(rig, nursery)
    answer = await desk.post("/v1/events", json.dumps([{}, *map(named, "abcde")]).encode())
    rig.sink.store()
    await trio.sleep(60)

    assert answer.status == 202
    assert told(answer) == {
        "accepted": 3,
        "rejected": [
            {"index": 0, "reason": "missing_field: name is required"},
            {"index": 4, "reason": "ring_full: this event and those after it found no room in time"},
        ],
    }
    assert rig.counts.events.accepted == 3
    assert rig.broken() == []


async def test_room_that_is_made_in_time(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """A batch larger than the ring is taken in whole as the store makes room."""
    rig = Rig(limit_events=3)
    desk = await open_desk(rig, nursery)
    nursery.start_soon(store_now_and_then, rig.sink)
    answer = await desk.post("/v1/events", packet(*range(30)))

    assert told(answer) == {"accepted": 30, "rejected": []}
    assert rig.counts.events.dropped == {}
    assert rig.broken() == []


async def store_now_and_then(sink: FakeSink) -> None:
    """Store what there is each tenth of a second."""
    while True:
        await trio.sleep(0.1)
        sink.store()


async def test_no_room_for_the_body(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """Where the ring has no room for the body itself, it is the same."""
    rig = Rig(limit_bytes=1000)
    desk = await open_desk(rig, nursery)
    await rig.inbox.reserve(990)
    answer = await desk.post("/v1/events", packet("c"))

    assert error_of(answer) == (503, "ring_full")
    assert answer.headers["retry-after"] == "1"
    assert trio.current_time() == pytest.approx(5)
    assert desk.fate() == (1, 0, Counter(), {Reason.RING_FULL: 1})
    assert rig.budget.used_bytes == 990
    assert rig.broken() == []


async def test_stopped_while_it_waits(autojump_clock: MockClock) -> None:
    """A body that was received whole is not lost with the connection that brought it."""
    rig = Rig(limit_events=0)
    async with trio.open_nursery() as readers:
        readers.start_soon(rig.inbox.run)
        async with trio.open_nursery() as sources:
            desk = Desk(rig)
            sources.start_soon(desk.peer.serve)
            sources.start_soon(desk.post, "/v1/events", packet("a"))
            await trio.sleep(1)
            sources.cancel_scope.cancel()
        rig.sink.limit = 10
        rig.sink.store()
        await rig.inbox.drained()
        readers.cancel_scope.cancel()

    assert rig.names == ["a"]
    assert desk.fate() == (1, 1, Counter(), Counter())


async def test_bug_of_ours(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug in reading a body is answered as ours, and costs that body alone."""

    def broken(*_: object) -> object:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr("trace_agent.ingest.reading.values", broken)
        answer = await desk.post("/v1/events", packet("a"))
    after = await desk.post("/v1/events", packet("b"))

    assert error_of(answer) == (500, "internal_error")
    assert after.status == 202
    assert desk.fate() == (2, 1, {Reason.INTERNAL: 1}, Counter())
