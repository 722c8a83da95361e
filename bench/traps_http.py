"""Hold raw HTTP requests that have broken or fooled servers before: framing, encodings, heads, queries."""

import gzip
import zlib
from typing import Final

__all__ = ["HTTP_TRAPS", "bombs"]


def _post(head: bytes, body: bytes = b"", path: bytes = b"/v1/events") -> bytes:
    return (
        b"POST "
        + path
        + b" HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        + head
        + (b"\r\n" + body)
    )


def _get(path: bytes, head: bytes = b"") -> bytes:
    return b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\n" + head + b"\r\n"


_BODY: Final = b'{"type":"event","name":"n"}'
_CHUNKED: Final = b"Transfer-Encoding: chunked\r\n"
_CHUNK: Final = b"1b\r\n" + _BODY + b"\r\n"

HTTP_TRAPS: Final = (
    *(_post(b"Content-Length: " + value + b"\r\n", _BODY) for value in (b"27", b"26", b"28", b"0", b"-1")),
    *(
        _post(b"Content-Length: " + value + b"\r\n", _BODY)
        for value in (b"+27", b"27, 27", b"27,28", b"0x1b")
    ),
    *(_post(b"Content-Length: " + value + b"\r\n", _BODY) for value in (b"9" * 18, b"9" * 30, b"9" * 5_000)),
    _post(b"Content-Length: 27\r\nContent-Length: 28\r\n", _BODY),
    _post(_CHUNKED + b"Content-Length: 27\r\n", _CHUNK + b"0\r\n\r\n"),
    _post(_CHUNKED, _CHUNK + b"0\r\n\r\n"),
    _post(_CHUNKED, _CHUNK + b"0\r\nTrailer: x\r\n\r\n"),
    _post(_CHUNKED, _CHUNK),
    *(
        _post(_CHUNKED, size + b"\r\n" + _BODY + b"\r\n0\r\n\r\n")
        for size in (
            b"-1",
            b"0x1b",
            b"1b;" + b"x" * 20_000,
            b"FFFFFFFFFFFFFFFF",
            b"F" * 400,
            b"",
            b"1g",
            b"1a",
        )
    ),
    _post(_CHUNKED, b"1\r\n{\r\n" * 2_000),
    _post(b"Transfer-Encoding: gzip, chunked\r\n", _CHUNK + b"0\r\n\r\n"),
    _post(b"Transfer-Encoding: xchunked\r\n", _BODY),
    _post(b"Transfer-Encoding : chunked\r\n", _CHUNK),
    *(
        _post(b"Content-Encoding: " + coding + b"\r\nContent-Length: %d\r\n" % len(body), body)
        for coding in (b"gzip", b"deflate", b"br", b"gzip, gzip", b"identity")
        for body in (
            gzip.compress(_BODY, mtime=0),
            zlib.compress(_BODY),
            gzip.compress(_BODY, mtime=0)[:-5],
            gzip.compress(_BODY, mtime=0) + b"x",
            b"\x1f\x8b" + b"\xff" * 50,
            b"",
        )
    ),
    _post(b"Expect: 100-continue\r\nContent-Length: 27\r\n"),
    _post(b"Expect: 200-ok\r\nContent-Length: 27\r\n", _BODY),
    _post(b"X: " + b"x" * 70_000 + b"\r\n"),
    _post(b"".join(b"X%d: y\r\n" % number for number in range(2_000))),
    _post(b"X: a\x00b\r\n"),
    _post(b"X: a\r\n b\r\n"),
    _post(b": v\r\n"),
    _post(b"Origin: http://evil.example\r\nContent-Length: 27\r\n", _BODY),
    _post(b"Sec-Fetch-Site: cross-site\r\nContent-Length: 27\r\n", _BODY),
    _post(b"Host: evil.example\r\nContent-Length: 27\r\n", _BODY),
    b"GET /health HTTP/1.1\r\n\r\n",
    b"GET /health HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    b"GET http://evil.example/health HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /health HTTP/1.0\r\n\r\n",
    b"GET /health\r\n",
    b"GET /health HTTP/9.9\r\nHost: localhost\r\n\r\n",
    b"\r\n\r\nGET /health HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /health HTTP/1.1\nHost: localhost\n\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 50,  # a TLS client
    b"SSH-2.0-x\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"HEAD /v1/stats HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"BREW /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n",
    _get(b"/health", b"Connection: Upgrade\r\nUpgrade: websocket\r\n"),
    _get(b"/health", b"Authorization: Bearer \xff\xfe\r\n"),
    _get(b"/%00%zz%ff/../..//v1/stats"),
    _get(b"/" + b"a" * 12_000),
    _get(b"/v1/events?" + b"&".join(b"a%d=1" % number for number in range(300))),
    *(
        _get(b"/v1/" + route + b"?" + query)
        for route in (b"events", b"traces", b"errors", b"metrics")
        for query in (
            b"limit=-1",
            b"limit=99999999999999999999",
            b"limit=1e3",
            b"limit=%C2%B2",
            b"cursor=%FF%00",
            b"cursor=99999999999999999999999",
            b"since=NaN",
            b"since=9e99h",
            b"since=99999999999999999999d",
            b"until=-5m&since=%00",
            b"text=1&name=%27%22;DROP",
            b"session=%ED%A0%80",
            b"&&&=&=&",
        )
    ),
    *(_get(b"/v1/traces/" + name) for name in (b"", b"%2e%2e%2f", b"%ff", b"%00", b"x" * 8_000)),
)


def bombs() -> tuple[bytes, ...]:
    """Build bodies of a few kilobytes that inflate beyond the limit of 16 MiB."""
    zeros, nested = bytes(20 * 1024 * 1024), b"[" * (17 * 1024 * 1024)
    packed = ((b"gzip", gzip.compress(zeros, mtime=0)), (b"deflate", zlib.compress(nested)))
    return tuple(
        _post(b"Content-Encoding: " + coding + b"\r\nContent-Length: %d\r\n" % len(body), body)
        for coding, body in packed
    )
