"""Send one event from the command line: options in, a packet to the agent out (`trace-agent emit`).

The event is built as clients build theirs and checked by the code that will read it, because two of the
three carriers never answer.
"""

import json
import os
import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, cast

from trace_agent.core.errors import PeerError, Reason
from trace_agent.core.events import Json, MetricKind
from trace_agent.core.fields import EventReader
from trace_agent.core.ids import IdMaker
from trace_agent.core.settings import Settings
from trace_agent.dialects.native import Form, values
from trace_agent.views.client import ask, send_udp, send_unix
from trace_agent.views.rows import JsonMap
from trace_agent.views.terminal import Clock, safe

__all__ = ["CARRIERS", "LLM_OPTIONS", "attributes_of", "run_emit", "send"]

_OK: Final = 0
_PROBLEM: Final = 1

CARRIERS: Final = ("udp", "unix", "http")

# Option -> where its value goes: a field, or a bucket of `tokens`, or a field of `error`.
LLM_OPTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "provider": ("provider",),
    "model": ("model",),
    "operation": ("operation",),
    "input": ("input",),
    "output": ("output",),
    "input_tokens": ("tokens", "input"),
    "output_tokens": ("tokens", "output"),
    "cache_read_tokens": ("tokens", "cache_read"),
    "cache_write_tokens": ("tokens", "cache_write"),
    "cost_usd": ("cost_usd",),
    "latency_ms": ("latency_ms",),
    "ttft_ms": ("ttft_ms",),
    "status": ("status",),
    "error_kind": ("error", "kind"),
    "error_code": ("error", "code"),
    "error_message": ("error", "message"),
    "finish_reason": ("finish_reason",),
    "request_id": ("request_id",),
}
_CONTEXT: Final = ("id", "ts", "agent", "session", "run")
# StatsD's letters for the kinds (`5|ms`).
_STATSD_KINDS: Final = {
    "c": MetricKind.COUNTER,
    "g": MetricKind.GAUGE,
    "ms": MetricKind.TIMER,
    "h": MetricKind.HISTOGRAM,
    "d": MetricKind.DISTRIBUTION,
    "s": MetricKind.SET,
}


def run_emit(args: Namespace, settings: Settings, now_ms: Clock) -> int:
    """Send one event, or the JSON that was given.

    Returns:
        0 when it was sent, and over HTTP stored; 1 when the agent refused it.

    Raises:
        PeerError: the event cannot be read, or there is none.
        UnreachableError: nobody takes it.
    """
    packet = _packet(args)
    _check(packet, now_ms())
    carrier = args.via or ("unix" if Path(settings.socket).exists() else "udp")
    trouble = send(carrier, packet, settings)
    if trouble is not None:
        sys.stderr.write(f"trace-agent: refused: {safe(trouble)}\n")
        return _PROBLEM
    sys.stdout.write(f"{'stored' if carrier == 'http' else 'sent'}, over {_place(carrier, settings)}\n")
    return _OK


def send(carrier: str, packet: bytes, settings: Settings) -> str | None:
    """Send a packet of our own to the agent of these settings.

    Returns:
        None, or why the agent refused it; only HTTP says so.

    Raises:
        UnreachableError: nobody takes it.
    """
    if carrier == "udp":
        send_udp(settings.listen, packet)
        return None
    if carrier == "unix":
        send_unix(Path(settings.socket), packet)
        return None
    reply = ask(settings.listen, settings.token, "POST", "/v1/traces?sync=1", packet)
    if reply.status < 300:
        return None
    rejected = reply.body.get("rejected") if isinstance(reply.body, dict) else None
    return json.dumps(rejected) if rejected else reply.message


def attributes_of(words: Sequence[str]) -> dict[str, Json]:
    """Read `key=value` words; a value that is JSON (5, true, [1]) counts as such, any other as text.

    Raises:
        PeerError: a word has no `=`.
    """
    attributes: dict[str, Json] = {}
    for word in words:
        key, sign, value = word.partition("=")
        if not sign or not key:
            raise PeerError(Reason.BAD_REQUEST, "attributes are written key=value")
        try:
            attributes[key] = cast("Json", json.loads(value))
        except (ValueError, RecursionError):
            attributes[key] = value
    return attributes


def _place(carrier: str, settings: Settings) -> str:
    return f"{carrier} ({settings.socket if carrier == 'unix' else settings.listen})"


def _packet(args: Namespace) -> bytes:
    if args.raw is not None:
        return (sys.stdin.read() if args.raw == "-" else str(args.raw)).encode(errors="replace")
    builders = {"llm": _llm, "event": _event, "error": _error, "metric": _metric}
    if args.type is None:
        raise PeerError(Reason.BAD_REQUEST, f"say what to send: {', '.join(builders)}, or --json")
    event = builders[args.type](args)
    event["type"] = args.type
    for name in _CONTEXT:
        value = getattr(args, name, None)
        if value is not None:
            event[name] = value
    return json.dumps(event).encode()


def _llm(args: Namespace) -> JsonMap:
    event: JsonMap = {}
    for option, path in LLM_OPTIONS.items():
        value = getattr(args, option)
        if value is None:
            continue
        where = event
        for name in path[:-1]:
            inner = where.setdefault(name, {})
            assert isinstance(inner, dict)
            where = inner
        where[path[-1]] = value
    return _with_attributes(event, args)


def _event(args: Namespace) -> JsonMap:
    return _with_attributes(_given(args, "name", "severity", "duration_ms"), args)


def _error(args: Namespace) -> JsonMap:
    return _with_attributes(_given(args, "kind", "severity", "message", "source"), args)


def _given(args: Namespace, *names: str) -> JsonMap:
    return {name: value for name in names if (value := getattr(args, name)) is not None}


def _metric(args: Namespace) -> JsonMap:
    value, bar, letter = args.value.rpartition("|")
    if not bar:
        return {"name": args.name, "value": args.value, "kind": args.kind or "gauge", "tags": args.tags}
    if letter not in _STATSD_KINDS:
        raise PeerError(Reason.BAD_REQUEST, f"after the | stands one of {', '.join(_STATSD_KINDS)}")
    return {"name": args.name, "value": value, "kind": _STATSD_KINDS[letter].value, "tags": args.tags}


def _with_attributes(event: JsonMap, args: Namespace) -> JsonMap:
    attributes = attributes_of(args.attributes)
    if attributes:
        event["attributes"] = attributes
    return event


def _check(packet: bytes, now_ms: int) -> None:
    """Read the packet as the agent will.

    Raises:
        PeerError: the agent would refuse it, or a part of it.
    """
    reader = EventReader(new_id=IdMaker(os.urandom), clamped=lambda: None)
    for value in values(packet, Form.JSON):
        reader.read(value, now_ms, "cli")
