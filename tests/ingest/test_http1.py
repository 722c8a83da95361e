"""HTTP/1.1 over one stream: whatever a peer sends, and however slowly, it is answered or let go.

Invariant: a stream of requests means the same wherever it is cut; any bytes at all bring no bug to light.
"""

import gzip
import json
import tracemalloc
import zlib
from collections.abc import Callable
from itertools import pairwise

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, lockstep_stream_pair, wait_all_tasks_blocked

from tests.ingest.peer import BIG, BIG_BYTES, BUG, UNREAD, Peer
from tests.ingest.rig import Rig
from trace_agent.core.errors import Reason
from trace_agent.ingest import http1

GET = b"GET /%d HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST /post HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.fixture
async def peer(rig: Rig, nursery: trio.Nursery) -> Peer:
    """Return a client whose connection is being served; no bug may come to light."""
    peer = Peer(rig)
    nursery.start_soon(peer.serve)
    return peer


@pytest.fixture
def low_limit(monkeypatch: pytest.MonkeyPatch) -> int:
    """Lower the limit of bodies, and return it."""
    monkeypatch.setattr(http1, "BODY_LIMIT_BYTES", 300_000)
    return 300_000


def status_of(response: bytes) -> int:
    """Return the status of a raw response, which has to be one."""
    version, status, _ = response.split(b" ", 2)
    assert version == b"HTTP/1.1"
    return int(status)


def conversation(chunks: list[bytes], *, close: bool = True) -> tuple[Peer, bytes]:
    """Return the peer that sent these chunks, and what it received."""
    rig = Rig()
    peer = Peer(rig)
    received = bytearray()

    async def receive() -> None:
        received.extend(await peer.rest())
        await peer.stream.aclose()

    async def main() -> None:
        with trio.fail_after(300):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(peer.serve)
                nursery.start_soon(receive)
                for chunk in chunks:
                    await peer.send(chunk)
                    await wait_all_tasks_blocked()
                    if peer.ended:
                        break
                if close and not peer.ended:
                    await peer.stream.send_eof()

    trio.run(main, clock=MockClock(autojump_threshold=0))
    assert peer.bugs.found == []
    assert rig.budget.used_bytes == 0
    return peer, bytes(received)


async def test_keep_alive(peer: Peer) -> None:
    """One connection serves request after request, each with its own body."""
    bodies = [(await peer.request("POST", f"/{number}", b"x" * number)).body for number in (0, 1, 70_000)]

    assert [len(body) for body in bodies] == [0, 1, 70_000]
    assert peer.echo.paths == ["/0", "/1", "/70000"]
    assert not peer.ended


async def test_answer_headers(peer: Peer) -> None:
    """Each answer says what it is, that no cache may keep it, and who speaks."""
    answer = await peer.request("GET", UNREAD)

    assert answer.headers == {
        "content-type": "application/json",
        "content-length": "8",
        "server": answer.headers["server"],
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
    }
    assert answer.headers["server"].startswith("trace-agent/")
    assert answer.body == b'"unread"'


async def test_request_as_data(peer: Peer) -> None:
    """A request comes with a decoded query, lower-case names, the last of repeated ones, and which were."""
    await peer.send(
        b"GET /a%20b?x=1&y=%C3%BC+&x=2&z HTTP/1.1\r\nHost: localhost\r\nX-One: a\r\nX-ONE: b\xe9\r\n\r\n"
    )
    await wait_all_tasks_blocked()
    (request,) = peer.echo.requests

    assert (request.method, request.path) == ("GET", "/a%20b")
    assert request.query == {"x": "2", "y": "ü ", "z": ""}
    assert request.headers == {"host": "localhost", "x-one": "bé"}
    assert request.repeated == {"x-one"}


def test_pipelining() -> None:
    """Requests that are sent without waiting are answered in their order."""
    peer, received = conversation([b"".join(GET % number for number in range(50))])

    assert peer.echo.paths == [f"/{number}" for number in range(50)]
    assert received.count(b"HTTP/1.1 200") == 50


@given(places=st.lists(st.integers(1, 400), max_size=8))
def test_cut_anywhere(places: list[int]) -> None:
    """Requests mean the same wherever their stream is cut."""
    stream = (
        (GET % 1)
        + (POST + b"Content-Length: 5\r\n\r\nhello")
        + (CHUNKED + b"3;ext=1\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: x\r\n\r\n")
        + (POST + b"Content-Encoding: gzip\r\nContent-Length: 25\r\n\r\n" + gzip.compress(b"words", mtime=0))
        + (GET % 2)
    )
    edges = [0, *sorted(place for place in places if place < len(stream)), len(stream)]
    peer, received = conversation([stream[a:b] for a, b in pairwise(edges) if a < b])

    assert peer.echo.bodies == [b"", b"hello", b"abcde", b"words", b""]
    assert received.count(b"HTTP/1.1 200") == 5


def test_byte_by_byte() -> None:
    """A request that comes a byte at a time is as good as any."""
    stream = CHUNKED + b"3\r\nabc\r\n0\r\n\r\n"
    peer, _ = conversation([stream[place : place + 1] for place in range(len(stream))])

    assert peer.echo.bodies == [b"abc"]


ANY_BYTES = st.one_of(
    st.binary(max_size=200),
    st.sampled_from([GET % 1, POST, CHUNKED, b"0\r\n\r\n", b"3\r\nabc\r\n", b"\r\n", b" ", b"?a&b"]),
    st.sampled_from(
        [b"0\r\n\r\n", b"3\r\nabc\r\n", b"Host: x\r\n", b"Content-Encoding: gzip\r\n", b" ", b"?a&b"]
    ),
)


@given(chunks=st.lists(ANY_BYTES, max_size=6), close=st.booleans())
def test_any_bytes(chunks: list[bytes], close: bool) -> None:
    """Any bytes are answered with HTTP or not at all, and the connection ends, left to itself too."""
    peer, received = conversation(chunks, close=close)

    assert peer.ended
    assert received == b"" or received.startswith(b"HTTP/1.1 ")


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost : localhost\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: local\x00host\r\n\r\n", 400),
        (b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET /a b HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET /health\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(50), 400),
        (POST + b"Content-Length: -1\r\n\r\n", 400),
        (POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc", 400),
        (POST + b"Content-Length: " + b"9" * 500 + b"\r\n\r\n", 400),
        (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 20_000, 431),
        (b"GET /?" + b"a&" * 100 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n", 400),
    ],
)
def test_bad_heads(head: bytes, status: int) -> None:
    """A head that cannot be used is answered with its status, in JSON, and the connection ends."""
    peer, received = conversation([head])
    fields, _, body = received.partition(b"\r\n\r\n")

    assert status_of(received) == status
    assert b"Connection: close" in fields
    assert json.loads(body)["error"]["code"] == "bad_request"
    assert peer.echo.requests == []


def test_bad_head_asked_with_head() -> None:
    """To HEAD even a refusal has no body."""
    _, received = conversation([b"HEAD /?" + b"a&" * 100 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"])

    assert status_of(received) == 400
    assert received.endswith(b"\r\n\r\n")


def test_hundred_query_fields() -> None:
    """A hundred fields are none too many."""
    peer, received = conversation(
        [b"GET /?" + b"&".join(b"a%d=1" % n for n in range(100)) + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"]
    )

    assert status_of(received) == 200
    assert len(peer.echo.requests[0].query) == 100


@pytest.mark.parametrize(
    ("target", "path", "host"),
    [
        (b"http://evil.example/health?x=1", "/health", "evil.example"),
        (b"http://localhost:9090/v1/events", "/v1/events", "localhost:9090"),
        (b"HTTPS://[::1]:9090", "/", "[::1]:9090"),
        (b"http://localhost?x=1", "/", "localhost"),
        (b"http://localhost@evil.example/", "/", "localhost@evil.example"),
        (b"/v1/traces/http://id", "/v1/traces/http://id", "given"),
        (b"//evil.example/health", "//evil.example/health", "given"),
        (b"*", "*", "given"),
    ],
)
def test_forms_of_target(target: bytes, path: str, host: str) -> None:
    """In a target of absolute form its authority stands in for Host; any other target leaves Host alone."""
    peer, _ = conversation([b"OPTIONS " + target + b" HTTP/1.1\r\nHost: given\r\n\r\n"])
    (request,) = peer.echo.requests

    assert (request.path, request.headers["host"]) == (path, host)


@pytest.mark.parametrize(
    "head",
    [
        b"GET /1 HTTP/1.0\r\n\r\n",
        b"GET /1 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        b"GET /1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    ],
)
def test_peer_that_wants_one_answer(head: bytes) -> None:
    """HTTP/1.0, and a client that says so, get their answer and the end of the connection."""
    peer, received = conversation([head, GET % 2], close=False)

    assert status_of(received) == 200
    assert peer.echo.paths == ["/1"]
    assert peer.ended


@pytest.mark.parametrize(
    "head",
    [
        b"GET /1 HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"GET /1 HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n",
        b"CONNECT /unread HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
)
def test_upgrade(head: bytes) -> None:
    """An offer to speak something else is passed over: the request is answered as it stands."""
    peer, received = conversation([head, GET % 2])

    assert status_of(received) in (200, 401)
    assert len(peer.echo.requests) == 2


async def test_head(peer: Peer) -> None:
    """HEAD gets the headers of GET and no body, and the connection goes on."""
    await peer.send(b"HEAD /big HTTP/1.1\r\nHost: localhost\r\n\r\n")
    received = bytes(await peer.stream.receive_some())
    await peer.send(b"GET /unread HTTP/1.1\r\nHost: localhost\r\n\r\n")
    after = bytes(await peer.stream.receive_some())

    assert b"Content-Length: %d\r\n" % BIG_BYTES in received
    assert received.endswith(b"\r\n\r\n")
    assert status_of(after) == 401


async def test_expect_continue(peer: Peer) -> None:
    """A client that waits to be told gets its 100 when the body is wanted."""
    await peer.send(POST + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n")
    told = bytes(await peer.stream.receive_some())
    await peer.send(b"abc")
    answer = bytes(await peer.stream.receive_some())

    assert status_of(told) == 100
    assert status_of(answer) == 200
    assert peer.echo.bodies == [b"abc"]


@pytest.mark.parametrize(
    "head",
    [
        b"POST /unread HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n",
        POST + b"Expect: 100-continue\r\nContent-Length: 99999999\r\n\r\n",
        POST + b"Expect: 100-continue\r\nContent-Encoding: br\r\nContent-Length: 3\r\n\r\n",
    ],
)
def test_expect_continue_in_vain(head: bytes) -> None:
    """One whose body is not wanted is told at once, without a 100, and that the connection ends."""
    peer, received = conversation([head], close=False)

    assert status_of(received) in (400, 401)
    assert b"Connection: close" in received
    assert peer.ended


async def test_expect_continue_in_vain_takes_no_time(peer: Peer, autojump_clock: MockClock) -> None:
    """It sends nothing before it is told, so there is nothing to wait for."""
    await peer.send(
        b"POST /unread HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
    )
    received = bytes(await peer.stream.receive_some())

    assert status_of(received) == 401
    assert trio.current_time() == 0


def test_expectation_of_http10() -> None:
    """HTTP/1.0 knows no 100."""
    _, received = conversation(
        [b"POST /x HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n", b"abc"]
    )

    assert status_of(received) == 200


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [
        ("gzip", gzip.compress),
        ("GZIP", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", lambda data: zlib.compress(data)[2:-4]),
        ("identity", bytes),
        ("", bytes),
    ],
)
@pytest.mark.parametrize("chunked", [False, True])
async def test_encodings(
    peer: Peer, encoding: str, compress: Callable[[bytes], bytes], chunked: bool
) -> None:
    """Bodies are inflated, whichever way their length is told."""
    headers = {"Content-Encoding": encoding} | ({"Transfer-Encoding": "chunked"} if chunked else {})
    answer = await peer.request("POST", "/post", compress(b"words " * 20_000), headers)

    assert answer.body == b"words " * 20_000


@pytest.mark.parametrize(
    ("encoding", "body", "reason"),
    [
        ("br", b"abc", Reason.MEDIA_TYPE),
        ("gzip, gzip", gzip.compress(gzip.compress(b"abc")), Reason.MEDIA_TYPE),
        ("gzip", b"abc", Reason.BAD_ENCODING),
        ("gzip", gzip.compress(b"abc")[:-3], Reason.TRUNCATED),
        ("deflate", zlib.compress(b"abc")[:-1], Reason.TRUNCATED),
        ("gzip", gzip.compress(b"abc") + b"x", Reason.TRAILING_BYTES),
        ("gzip", gzip.compress(b"abc") * 2, Reason.TRAILING_BYTES),
    ],
)
async def test_bad_encodings(peer: Peer, encoding: str, body: bytes, reason: Reason) -> None:
    """A body that cannot be inflated is refused by name, and the connection goes on."""
    answer = await peer.request("POST", "/post", body, {"Content-Encoding": encoding})
    after = await peer.request("POST", "/post", b"abc")

    assert answer.status == 400
    assert peer.echo.refused == [reason]
    assert after.body == b"abc"


@pytest.mark.parametrize(
    "chunks",
    [
        b"-1\r\n",
        b"0x3\r\nabc\r\n",
        b"g\r\n",
        b"3\r\nabcd\r\n0\r\n\r\n",
        b"F" * 400 + b"\r\n",
        b"3;" + b"x" * 20_000,
    ],
)
def test_damaged_framing(chunks: bytes) -> None:
    """A body whose chunks cannot be told apart is refused, and nothing after it is taken for a request."""
    peer, received = conversation([CHUNKED + chunks + GET % 1])

    assert peer.echo.refused == [Reason.BAD_REQUEST]
    assert status_of(received) == 400
    assert peer.echo.paths == ["/post"]


def test_gone_in_mid_body() -> None:
    """A peer that closes within a body costs that request alone, and gives the ring its bytes back."""
    peer, _ = conversation([POST + b"Content-Length: 10\r\n\r\nabc"])

    assert peer.echo.refused == [Reason.BAD_REQUEST]
    assert peer.ended


async def test_limit(peer: Peer, low_limit: int) -> None:
    """A body may be as large as the limit, plain or inflated."""
    plain = await peer.request("POST", "/post", bytes(low_limit))
    inflated = await peer.request(
        "POST", "/post", gzip.compress(bytes(low_limit)), {"Content-Encoding": "gzip"}
    )

    assert len(plain.body) == len(inflated.body) == low_limit


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("encoding", ["", "gzip"])
async def test_over_the_limit(peer: Peer, rig: Rig, low_limit: int, chunked: bool, encoding: str) -> None:
    """A larger body is refused as too large, and what was reserved for it is given back."""
    body = bytes(low_limit + 1)
    headers = {"Content-Encoding": encoding} | ({"Transfer-Encoding": "chunked"} if chunked else {})
    await peer.request("POST", "/post", gzip.compress(body) if encoding else body, headers)

    assert peer.echo.refused == [Reason.TOO_LARGE]
    assert rig.budget.used_bytes == 0


async def test_bomb_takes_no_memory(peer: Peer, low_limit: int) -> None:
    """A bomb is put out at the limit: memory and ring never hold much more than that."""
    bomb = gzip.compress(bytes(50_000_000))
    tracemalloc.start()
    await peer.request("POST", "/post", bomb, {"Content-Encoding": "gzip"})
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peer.echo.refused == [Reason.TOO_LARGE]
    assert peak_bytes < low_limit * 5


async def test_bomb_without_room(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """Nothing more is inflated than there is room for; there being none in 5 s, the sender is told."""
    rig = Rig(limit_bytes=100_000)
    peer = Peer(rig)
    nursery.start_soon(peer.serve)
    await rig.inbox.reserve(50_000)
    began_s = trio.current_time()
    await peer.request("POST", "/post", gzip.compress(bytes(100_000)), {"Content-Encoding": "gzip"})

    assert trio.current_time() - began_s == pytest.approx(5)
    assert rig.budget.peak_bytes <= 100_000
    assert peer.echo.refused == [Reason.RING_FULL]
    assert rig.budget.used_bytes == 50_000


async def test_a_body_larger_than_the_ring(nursery: trio.Nursery) -> None:
    """What could never fit is refused as too large, rather than told to come again for ever."""
    rig = Rig(limit_bytes=100_000)
    peer = Peer(rig)
    nursery.start_soon(peer.serve)
    await peer.request("POST", "/post", bytes(100_001))

    assert peer.echo.refused == [Reason.TOO_LARGE]


async def test_room_comes_and_goes(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """The time that a body waits for room is counted over all of its pieces, not anew for each."""
    rig = Rig(limit_bytes=1000)
    peer = Peer(rig)
    nursery.start_soon(peer.serve)
    await rig.inbox.reserve(1000)
    await peer.send(POST + b"Content-Length: 900\r\n\r\n")
    for _ in range(3):
        await peer.send(bytes(300))
        await trio.sleep(1.9)
        rig.inbox.release(300)
        await trio.sleep(0.1)
        rig.inbox.reserve_nowait(0)
    await wait_all_tasks_blocked()

    assert peer.echo.refused == [Reason.RING_FULL]
    assert rig.budget.used_bytes == 100


async def test_tiny_chunks_leave_the_loop(peer: Peer, nursery: trio.Nursery) -> None:
    """Thousands of tiny chunks in one read do not keep other tasks from their turn."""
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while not peer.echo.bodies:
            turns += 1
            await trio.lowlevel.checkpoint()

    nursery.start_soon(turn)
    await peer.send(CHUNKED + b"1\r\nx\r\n" * 5000 + b"0\r\n\r\n")
    while not peer.echo.bodies:
        await trio.lowlevel.checkpoint()

    assert peer.echo.bodies == [b"x" * 5000]
    assert turns >= 5000


async def test_small_unread_body(peer: Peer) -> None:
    """A body that nobody read is passed over when it is small, and the connection goes on."""
    answer = await peer.request("POST", UNREAD, b"x" * 60_000)
    after = await peer.request("POST", "/post", b"abc")

    assert answer.status == 401
    assert after.body == b"abc"


def test_large_unread_body() -> None:
    """One that is large ends the connection after its answer; the rest of it is no request."""
    body = (GET % 1) * 5000
    peer, received = conversation(
        [b"POST /unread HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body), body],
        close=False,
    )

    assert status_of(received) == 401
    assert b"Connection: close" in received
    assert peer.echo.paths == ["/unread"]


def test_unread_body_that_is_damaged() -> None:
    """One with damaged framing ends the connection too."""
    peer, received = conversation(
        [b"POST /unread HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n" + GET % 1]
    )

    assert status_of(received) == 401
    assert peer.echo.paths == ["/unread"]


async def test_unread_body_that_does_not_come(peer: Peer, autojump_clock: MockClock) -> None:
    """One that does not come is waited for 2 s, then its sender is answered and let go."""
    await peer.send(b"POST /unread HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n")
    received = bytes(await peer.stream.receive_some())

    assert trio.current_time() == pytest.approx(2)
    assert status_of(received) == 401
    assert b"Connection: close" in received


@pytest.mark.parametrize("begin", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nX: "])
async def test_slow_head(peer: Peer, autojump_clock: MockClock, begin: bytes) -> None:
    """Who has not said what he wants after 10 s is let go, however busily he goes on (slow loris)."""
    if begin:
        await peer.send(begin)
        for _ in range(9):
            await trio.sleep(1)
            await peer.send(b"x")
    received = await peer.rest()

    assert received == b""
    assert trio.current_time() == pytest.approx(10)


async def test_idle(peer: Peer, autojump_clock: MockClock) -> None:
    """A connection that was of use may be idle for 75 s; then a head that begins has 10 s again."""
    await peer.request("GET", "/1")
    await trio.sleep(70)
    await peer.send(b"GET / HT")
    await peer.rest()
    slow_s = trio.current_time()

    assert slow_s == pytest.approx(80)
    assert peer.echo.paths == ["/1"]


async def test_too_long_idle(peer: Peer, autojump_clock: MockClock) -> None:
    """After 75 s without a request the connection is closed."""
    await peer.request("GET", "/1")
    received = await peer.rest()

    assert received == b""
    assert trio.current_time() == pytest.approx(75)


async def test_slow_body(peer: Peer, rig: Rig, autojump_clock: MockClock) -> None:
    """A body that has not come after 30 s is refused as slow, though some of it comes all the time."""
    await peer.send(POST + b"Content-Length: 100\r\n\r\n")
    with trio.move_on_after(29.5):
        while True:
            await peer.send(b"x")
            await trio.sleep(1)
    patient = not peer.echo.refused
    received = await peer.rest()

    assert patient
    assert status_of(received) == 400
    assert peer.echo.refused == [Reason.SLOW]
    assert rig.budget.used_bytes == 0


async def test_slow_reader(rig: Rig, nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """Who does not read his answer for 30 s is let go."""
    peer = Peer(rig, streams=lockstep_stream_pair())
    nursery.start_soon(peer.serve)
    await peer.send(b"GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await trio.sleep(29.9)
    patient = not peer.ended
    await trio.sleep(0.2)

    assert patient
    assert peer.ended
    assert peer.bugs.found == []


async def test_lingering_is_bounded(peer: Peer, nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """A peer that keeps its side open after the last answer is waited for 2 s and no longer."""
    await peer.send(b"GET /1 HTTP/1.0\r\n\r\n")
    received = await peer.rest()
    await trio.sleep(1.9)
    patient = not peer.ended
    await trio.sleep(0.2)

    assert status_of(received) == 200
    assert patient
    assert peer.ended


async def test_bug_of_ours(peer: Peer) -> None:
    """A bug in answering is answered with 500, told to the log, and ends that connection alone."""
    answer = await peer.request("POST", BUG, b"abc")
    await peer.stream.aclose()

    assert answer.status == 500
    assert json.loads(answer.body)["error"]["code"] == "internal_error"
    assert answer.headers["connection"] == "close"
    assert [type(error) for error in peer.bugs.found] == [ZeroDivisionError]


async def test_bug_without_anybody_to_tell(
    peer: Peer, monkeypatch: pytest.MonkeyPatch, nursery: trio.Nursery
) -> None:
    """A bug in reading a request ends its connection, and is told to the log."""

    def broken(_: str) -> dict[str, str]:
        raise ZeroDivisionError

    monkeypatch.setattr(http1, "_fields", broken)
    await peer.send(GET % 1)
    received = await peer.rest()

    assert received == b""
    assert [type(error) for error in peer.bugs.found] == [ZeroDivisionError]


async def test_vanished_before_the_answer(peer: Peer, rig: Rig) -> None:
    """A peer that is gone when its answer is ready is no error of ours."""
    await peer.send(b"GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await peer.stream.aclose()
    await wait_all_tasks_blocked()

    assert peer.ended
    assert peer.bugs.found == []


async def test_whole_big_answer(peer: Peer) -> None:
    """A large answer arrives whole."""
    answer = await peer.request("GET", BIG)

    assert len(answer.body) == BIG_BYTES
