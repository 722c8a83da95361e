"""Hold what has broken receivers before: valid packets to start from, and traps of each language.

Traps come from published bugs of StatsD servers, CBOR and JSON decoders and HTTP servers; each comment
says what it is after. Nothing here is random: `mutate` bends it.
"""

import json
from typing import Final

import cbor2

__all__ = ["MAGIC", "PACKET_TRAPS", "VALID_PACKETS", "VALID_STATSD"]

_EVENTS: Final[tuple[dict[str, object], ...]] = (
    {
        "type": "event",
        "name": "step",
        "duration_ms": 12.5,
        "severity": "info",
        "attributes": {"a": [1, None]},
    },
    {
        "type": "llm",
        "provider": "anthropic",
        "model": "claude-sonnet-4-5",
        "input": [{"role": "user", "content": "Wie spät ist es?"}, {"role": "assistant", "content": "12"}],
        "output": "Es ist zwölf. 🕛",
        "usage": {"input_tokens": 12, "output_tokens": 7, "cache_read_input_tokens": 90},
        "cost_usd": 0.0012,
        "latency_ms": 812,
        "status": "ok",
        "session": "s1",
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
    },
    {
        "type": "llm",
        "model": "gpt-5",
        "tokens": {"input": 5, "output": 2, "reasoning": 1, "total": 7},
        "status": "rate_limited",
        "error": {"code": 429, "message": "slow down"},
        "ts": "2026-01-02T03:04:05.678Z",
    },
    {"type": "error", "kind": "process.crash", "message": "boom", "stack": "at main\n at run", "ts": 1.7e12},
    {"type": "metric", "name": "queue", "value": 3, "kind": "gauge", "tags": {"agent": "fuzz"}},
    {"type": "metric", "name": "took", "value": 3.5, "kind": "timer", "tags": ["agent:fuzz"], "rate": 0.5},
    {"type": "metric", "name": "who", "value": "anna", "kind": "set"},
    {"type": "hello", "client": "fuzz", "version": "1", "pid": 1, "flow": False, "dropped": 3},
)

VALID_STATSD: Final = (
    b"page.views:1|c",
    b"page.views:1|c|@0.1|#a:b,c",
    b"fuel.level:0.5|g",
    b"fuel.level:-3|g",
    b"fuel.level:+4|g",
    b"song.length:240|ms|#t:x",
    b"song.length:240:250:260|h|@0.5",
    b"spread:1.5|d",
    b"users:anna|s",
    b"_e{5,4}:title|text|p:low|t:error|#a:b",
    b"_sc|Redis connection|2|h:host|#env:dev|m:timed out",
    b"a.b:1|c|c:in-1234|T1656581400",
)

VALID_PACKETS: Final = (
    *(cbor2.dumps(event) for event in _EVENTS),
    *(json.dumps(event).encode() for event in _EVENTS),
    cbor2.dumps(list(_EVENTS[:4])),
    json.dumps(list(_EVENTS[:4]), ensure_ascii=False).encode(),
    json.dumps({"events": list(_EVENTS[:3])}).encode(),
    b"\n".join(VALID_STATSD),
)

# Bytes and words that lead into rarely walked branches when they land in a packet.
MAGIC: Final = (
    b"\x00",
    b"\xff",
    b"\x7f",
    b"\x80",
    b"\xf4\x90\x80\x80",  # beyond Unicode's end
    b"\xed\xa0\x80",  # a surrogate as UTF-8
    b"\xc0\xaf",  # an overlong "/"
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"\r\n",
    b"\n",
    b"\x1b]0;title\x07",  # a log reader's terminal would obey
    b"\xfb\x7f\xf0\x00\x00\x00\x00\x00\x00",  # CBOR infinity
    b"\xfb\x7f\xf8\x00\x00\x00\x00\x00\x00",  # CBOR NaN
    b"\xf7",  # CBOR undefined
    b"\xc2\x58\x20" + b"\xff" * 32,  # CBOR bignum
    b"\x1b\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\x3b\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\x5b\x00\x00\x01\x00\x00\x00\x00\x00",  # 1 TiB of bytes, claimed
    b"\x7b\x00\x00\x01\x00\x00\x00\x00\x00",
    b"\x9b\x00\x00\x01\x00\x00\x00\x00\x00",
    b"\xbb\x00\x00\x01\x00\x00\x00\x00\x00",
    b"\x9f",
    b"\xbf",
    b"\xd8\x1c\x81\xd8\x1d\x00",  # a list that holds itself
    b"NaN",
    b"Infinity",
    b"-Infinity",
    b"1e999",
    b"-0",
    b"5e-324",
    b"1.7976931348623157e308",
    b"9223372036854775808",
    b"18446744073709551616",
    b"9" * 400,
    b"0x1p3",
    b"1_000",
    b"\xd9\xa1",  # an Arabic-Indic digit one
    b'"\\ud800"',
    b'"\\u0000"',
    b"null",
    b"true",
    b"[]",
    b"{}",
    b"__proto__",
    b"constructor",
    b"|c|@0",
    b"|#",
    b"|ms",
)


def _event(**fields: object) -> bytes:
    return json.dumps({"type": "event", "name": "n"} | fields).encode()


def _events(field: str, *values: object) -> tuple[bytes, ...]:
    return tuple(_event(**{field: value}) for value in values)


def _metrics(field: str, *values: object) -> tuple[bytes, ...]:
    metric = {"type": "metric", "name": "m", "value": 1, "kind": "counter"}
    return tuple(json.dumps(metric | {field: value}).encode() for value in values)


def _calls(field: str, *values: object) -> tuple[bytes, ...]:
    return tuple(json.dumps({"type": "llm", "model": "m", field: value}).encode() for value in values)


_STATSD_TRAPS: Final = (
    *(name + b":5|ms" for name in (b"toString", b"constructor", b"__proto__", b"hasOwnProperty")),
    b"constructor:1|s",
    *(b"a:" + value + b"|g" for value in (b"nan", b"inf", b"-inf", b"1e400", b"1_0", b"\xd9\xa1", b"0x10")),
    *(b"a:" + value + b"|c" for value in (b"", b" 1 ", b"--5", b"+-5", b"1e308", b"-1e308", b"1,5")),
    *(b"a:1|c|@" + rate for rate in (b"0", b"-1", b"2", b"nan", b"inf", b"5e-324", b"1e-300", b"", b".")),
    *(b"a:1e308|" + kind + b"|@0.0001" for kind in (b"c", b"ms", b"h", b"d")),  # the sum is infinite
    *(b"a", b"a:", b"a:1", b"a:1|", b"a:1|x", b":1|c", b"|", b":", b"::", b"|||", b"a:1|c|", b"a:1|c|#"),
    b"a" * 60_000 + b":1|c",
    b"a:1|c|#" + b",".join(b"t%d:v" % number for number in range(8_000)),
    b"a" + b":1" * 30_000 + b"|ms",
    b"\n".join([b"a:1|c"] * 10_000),
    b"\n" * 60_000,
    b"\n".join(b"series.%d:1|c" % number for number in range(4_000)),
    b"s:" + b"x" * 60_000 + b"|s",
    b"_e{5,4}:titletext",
    b"_e{99999999999999999999,1}:a|b",
    b"_e{-1,-1}:a|b",
    b"_e{0,0}:|",
    b"_e{1,1}:a|b|t:\x1b[31m|p:high|d:99999999999999999999999",
    b"_e{\xc2\xb2,1}:ab|c",  # a superscript two: a digit for str.isdigit, none for int()
    b"_e{5,4",
    b"_sc||0",
    b"_sc|name|9",
    b"_sc|name|\xc2\xb2",
    b"_sc|name",
    b"a\x00b:1|c",
    b"a\x1b[2Jb:1|c",
    b"a\r:1|c\r\n",
    b'a{b="c"}:1|g',  # names that Prometheus' text format would read as something else
    b'a:1|g|#b:"c\\,d:\n',
    b"x.y:1|c\nx_y:1|g\nx-y:1|ms\nx.y_total:1|c\nx_y_sum:1|g",  # several names, one in Prometheus
    b"a:1|c|T1e99",
    b"a:1|c|T-1",
)

PACKET_TRAPS: Final = (
    b"",
    b"\x00",
    b" \t\r\n",
    b"{",
    b"[",
    b"{}",
    b"[]",
    b"[[]]",
    b"[1,2,3]",
    b'"text"',
    b"[" * 60_000,
    b'{"a":' * 10_000,
    b"[" * 60 + b"]" * 60,
    _event(attributes={"a": 1}).replace(b"1", b"[" * 500 + b"]" * 500),
    _event().replace(b'"n"', b"NaN"),
    b'{"type":"metric","name":"m","kind":"gauge","value":NaN}',
    b'{"type":"metric","name":"m","kind":"gauge","value":1e999}',
    b'{"type":"event","name":"n","attributes":{"x":' + b"9" * 5_000 + b"}}",
    b'{"type":"event","name":"n","ts":' + b"9" * 400 + b"}",
    b'{"type":"event","type":"llm","name":"a","name":"b","id":"x","id":"y"}',
    b'\xef\xbb\xbf{"type":"event","name":"n"}',
    '{"type":"event","name":"n"}'.encode("utf-16"),
    b'{"type":"event","name":"\\ud800","id":"\\udfff","attributes":{"\\ud800":"\\udc00"}}',
    _event(id="\ud800" * 64),
    _event(id=""),
    _event(id="i" * 129),
    _event(id=0),
    _event(id=10**30),
    _event(id=["x"]),
    _event(name="\x00\x1b[2J\r\n"),
    _event(name=""),
    _event(name=True),
    _event(name=10**4_000),
    *_events("ts", -1, 0, 1e300, 2**63, "24:00", "9999-12-31T23:59:60Z", "", "²", "1e400"),
    *_events("ts", *(f"{year:04}-01-01T00:00:00+23:59" for year in (1, 1970, 9999))),
    *_events("duration_ms", "1" * 33, "-" * 20 + "1", True, "NaN", "²"),
    *_events("severity", [], "WARN", "x", 5),
    *_events("type", [], {"a": 1}, "", None, "EVENT"),
    *_events("attributes", [1], {"x" * 10_000: "y"}, "a", 0),
    *_metrics("rate", 0, -1, 5e-324, 1e-300, 2, "0.5", True, None),
    *_metrics("kind", "", "c", [], {}, None),
    *_metrics("value", True, "x", [], 2**63, -(2**64), 1.7e308, -1.7e308, None),
    *(packet.replace(b"counter", b"timer") for packet in _metrics("value", 1.7e308, -1.7e308, 5e-324)),
    *_metrics("tags", {"a": {"b": 1}}, [["a"]], {str(number): number for number in range(5_000)}),
    *_metrics("name", "x" * 50_000, "", None, 5, "a\nb"),
    *_calls("tokens", [], 1, {"input": -1}, {"input": 2**53 + 1}, {"input": 1.5}, {}),
    *_calls("usage", [], "x", {"input_tokens": "NaN"}, {"prompt_tokens_details": 5}, {}),
    *_calls(
        "usage", {"prompt_tokens": 1, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 9}}
    ),
    *_calls("cost_usd", -1, 1e300, "1", True, 1e-12),
    *_calls("status", "", 5, [], "timeout", "OK", "\ud800"),
    *_calls("error", True, 0, [], {"kind": []}, {"code": 10**30}, {"message": {"a": 1}}, "e"),
    *_calls("input", [[]] * 5_000, {"a": {"b": {"c": {}}}}, [None, True, 1.5, "x", {}], [], "\ud83d"),
    b'{"type":"hello"}',
    b'{"type":"hello","flow":true}',
    b'{"type":"hello","flow":[],"client":{},"version":[],"pid":"x","dropped":-5}',
    b'{"type":"hello","dropped":1e999}',
    b'{"type":"hello","dropped":NaN}',
    b'{"type":"hello","dropped":99999999999999999999999999}',
    b'{"events":{}}',
    b'{"events":[{"events":[]}]}',
    b'{"events":1,"type":"event","name":"n"}',
    json.dumps([{}] * 20_000).encode(),  # 20,000 refusals in one packet
    cbor2.dumps([{}] * 60_000),
    b"\x81" * 60_000,
    b"\x9f" * 60_000,
    b"\xa1\x61a" * 20_000,
    b"\xa1\x64name" + b"\xc1" * 10_000 + b"\x00",
    b"\xff",
    b"\xa1",
    b"\xbf\xff",
    b"\x9f\xff",
    b"\x81\xff",
    b"\xbf\x64type\x65event\x64name\x7f\x61a\x61b\xff\xff",  # a text in pieces
    b"\xd8\x1c\x81\xd8\x1d\x00",
    b"\xa2\x64type\x65event\x64name\xd8\x1c\x81\xd8\x1d\x00",
    b"\xa3\x64type\x65event\x64name\x61n\x6aattributes\xd8\x1c\xa1\x61a\xd8\x1d\x00",  # a map in itself
    b"\xa3\x64type\x65event\x64name\x61n\x6aattributes\xa1\x61a\xd8\x1d\x18\x63",  # no such reference
    *(
        b"\xa3\x64type\x65event\x64name\x61n\x6aattributes\xa1\x61a" + value
        for value in (
            b"\xd8\x23\x63(a*",  # tag 35: a regular expression, and a broken one
            b"\xc4\x82\x1a\x00\x0f\x42\x3f\x01",  # tag 4: 1E+999999
            b"\xc5\x82\x1a\x7f\xff\xff\xff\x03",  # tag 5: bigfloat
            b"\xc2\x59\x10\x00" + b"\xff" * 4_096,  # tag 2: 32,768 bits
            b"\xc0\x63xyz",  # tag 0: no date
            b"\xc1\xfb\x7f\xef\xff\xff\xff\xff\xff\xff",  # tag 1: a date at 1.8e308
            b"\xd9\x01\x02\x82\x01\x01",  # tag 258: a set
            b"\xd9\x01\x04\x44\x7f\x00\x00\x01",  # tag 260: an address
            b"\xd8\x19\x00",  # tag 25: string reference
            b"\xd9\xd9\xf7\x01",  # self-described CBOR inside
            b"\xf9\x7e\x00",  # NaN as a half
            b"\xf7",
            b"\xe0",  # an unassigned simple value
            b"\x44abcd",  # bytes
            b"\xa1\x82\x01\x02\x03",  # a list as key
            b"\xa1\xf9\x7e\x00\x03",  # NaN as key
            b"\xa1\x44abcd\x03",
            b"\xa1\x01\x03",
            b"\x62\xc3\x28",  # text that is no UTF-8
        )
    ),
    cbor2.dumps({"type": "event", "name": "n"}) + b"\x00",  # a byte too many
    cbor2.dumps({"type": "event", "name": b"n"}),
    cbor2.dumps({"type": "event", "name": "n", "attributes": {"x": -(2**64)}}),
    *_STATSD_TRAPS,
)
