"""Build events out of maps: a decoded JSON or CBOR map in, an event of `events` or an `EventError` out.

The wire fields of CONTRACT section 2 stand here once. Dialects that know better than the sender what
a record means (OpenTelemetry, logs) translate it to these fields and come through here too, so that
every event in the house has been checked by the same code.
"""

from collections.abc import Callable
from typing import Final, cast

from attrs import frozen

from trace_agent.core.errors import EventError, Reason
from trace_agent.core.events import (
    AnyEvent,
    ErrorKind,
    Event,
    Failure,
    Llm,
    Metric,
    MetricKind,
    Severity,
    Tokens,
)
from trace_agent.core.usage import normalise, reported_nusd
from trace_agent.core.values import (
    FUTURE_LIMIT_MS,
    as_count,
    as_json,
    as_label,
    as_message,
    as_number,
    as_text,
    as_time_ms,
)

__all__ = ["EventReader", "tokens_of"]

Map = dict[str, object]

_ID_BYTES: Final = 128
_NUSD_PER_USD: Final = 1_000_000_000
_COST_LIMIT_USD: Final = 1_000_000

# What the envelopes of OTLP/JSON hold (opentelemetry-proto, ExportTraceServiceRequest and its siblings).
_OPENTELEMETRY: Final = frozenset({"resourceSpans", "resourceLogs", "resourceMetrics"})
_OK_WORDS: Final = frozenset({"ok", "success", "succeeded", "completed", "complete"})
# What senders call failures, as `status` or `error.kind`, beside the names of `ErrorKind` themselves.
_KIND_WORDS: Final = {kind.value: kind for kind in ErrorKind} | {
    "aborted": ErrorKind.CANCELLED,
    "authentication": ErrorKind.AUTH,
    "canceled": ErrorKind.CANCELLED,
    "context_overflow": ErrorKind.CONTEXT_LENGTH,
    "rate_limited": ErrorKind.RATE_LIMIT,
    "ratelimit": ErrorKind.RATE_LIMIT,
    "timed_out": ErrorKind.TIMEOUT,
    "unauthorized": ErrorKind.AUTH,
}
# HTTP statuses that say the kind by themselves; a 400 needs its text.
_KIND_OF_CODE: Final = {
    401: ErrorKind.AUTH,
    403: ErrorKind.AUTH,
    408: ErrorKind.TIMEOUT,
    429: ErrorKind.RATE_LIMIT,
    499: ErrorKind.CANCELLED,
    503: ErrorKind.OVERLOADED,
    504: ErrorKind.TIMEOUT,
    529: ErrorKind.OVERLOADED,
}
_METRIC_WORDS: Final = {kind.value: kind for kind in MetricKind}
_SEVERITY_WORDS: Final = {severity.value: severity for severity in Severity} | {
    "warn": Severity.WARNING,
    "success": Severity.INFO,
    "critical": Severity.FATAL,
}


@frozen
class EventReader:
    """Reads maps into events.

    Attributes:
        new_id: makes an id from Unix milliseconds, for events that bring none.
        clamped: called for each stamp from the future that was replaced by the arrival time.
    """

    new_id: Callable[[float], str]
    clamped: Callable[[], None]

    def read(self, value: object, now_ms: float, seen_by: str, implied_type: str | None = None) -> AnyEvent:
        """Build the event that `value` describes.

        Args:
            value: one decoded event.
            now_ms: when it reached us, Unix milliseconds.
            seen_by: the input that brought it (`udp`, `otlp`, ..), kept with calls.
            implied_type: the type when the map names none (`POST /v1/errors`).

        Raises:
            EventError: naming the field that is missing or wrong.
        """
        if not isinstance(value, dict):
            raise EventError(Reason.NOT_AN_EVENT, "an event is a map")
        fields = cast("Map", value)
        kind = fields.get("type")
        if kind is None:
            kind = implied_type
        if not _OPENTELEMETRY.isdisjoint(fields):
            # Without a word it would be taken for a call of which nothing is told.
            raise EventError(Reason.UNKNOWN_TYPE, "OpenTelemetry exports are not read by this version")
        # An unhashable type (a list, a map) is as unknown as a wrong word.
        build = _BUILDERS.get(kind) if isinstance(kind, str) else None
        if build is None:
            raise EventError(Reason.UNKNOWN_TYPE, "type must be llm, event, error or metric")
        return build(self, fields, now_ms, seen_by)

    def _time(self, fields: Map, now_ms: float) -> float:
        stamp = fields.get("ts")
        if stamp is None:
            return now_ms
        ts_ms = as_time_ms(stamp, "ts")
        if ts_ms > now_ms + FUTURE_LIMIT_MS:
            self.clamped()
            return now_ms
        return ts_ms

    def _common(self, fields: Map, now_ms: float) -> "_CommonValues":
        ts_ms = self._time(fields, now_ms)
        given = fields.get("id")
        get = fields.get
        attributes = get("attributes")
        if attributes is not None and not isinstance(attributes, dict):
            raise EventError(Reason.BAD_FIELD, "attributes must be a map")
        return (
            self.new_id(ts_ms) if given is None else _given_id(given),
            given is None,
            ts_ms,
            int(now_ms),
            as_label(get("agent"), "agent"),
            as_label(get("session"), "session"),
            as_label(get("run"), "run"),
            as_label(get("trace_id"), "trace_id"),
            as_label(get("span_id"), "span_id"),
            as_json(attributes, "attributes") if attributes else None,
        )

    def _llm(self, fields: Map, now_ms: float, seen_by: str) -> Llm:
        get = fields.get
        status, kind, code, message = _outcome(get("status"), get("error"))
        usage = get("usage")
        latency = get("latency_ms")
        ttft = get("ttft_ms")
        return Llm(
            *self._common(fields, now_ms),
            seen_by=seen_by,
            provider=as_label(get("provider"), "provider"),
            model=as_label(get("model"), "model"),
            response_model=as_label(get("response_model"), "response_model"),
            operation=as_label(get("operation"), "operation") or "chat",
            input=as_text(get("input"), "input"),
            output=as_text(get("output"), "output"),
            tokens=tokens_of(fields),
            usage=None if usage is None else as_json(usage, "usage"),
            cost_nusd=_cost(get("cost_usd"), usage),
            latency_ms=None if latency is None else _duration(latency, "latency_ms"),
            ttft_ms=None if ttft is None else _duration(ttft, "ttft_ms"),
            status=status,
            error_kind=kind,
            error_code=code,
            error_message=message,
            finish_reason=as_label(get("finish_reason"), "finish_reason"),
            request_id=as_label(get("request_id"), "request_id"),
        )

    def _event(self, fields: Map, now_ms: float, _seen_by: str) -> Event:
        duration = fields.get("duration_ms")
        return Event(
            *self._common(fields, now_ms),
            name=_required(as_label(fields.get("name"), "name"), "name"),
            duration_ms=None if duration is None else _duration(duration, "duration_ms"),
            severity=_severity(fields.get("severity"), Severity.INFO),
        )

    def _error(self, fields: Map, now_ms: float, _seen_by: str) -> Failure:
        get = fields.get
        return Failure(
            *self._common(fields, now_ms),
            kind=_required(as_label(get("kind"), "kind"), "kind"),
            message=as_message(get("message"), "message"),
            severity=_severity(get("severity"), Severity.ERROR),
            stack=as_message(get("stack"), "stack"),
            source=as_label(get("source"), "source"),
        )

    def _metric(self, fields: Map, now_ms: float, _seen_by: str) -> Metric:
        get = fields.get
        kind = _metric_kind(get("kind"))
        value = get("value")
        if value is None:
            raise EventError(Reason.MISSING_FIELD, "value is required")
        member = as_label(value, "value") if kind is MetricKind.SET else float(as_number(value, "value"))
        given = get("rate")
        rate = 1.0 if given is None else float(as_number(given, "rate"))
        if not 0 < rate <= 1:
            raise EventError(Reason.BAD_FIELD, "rate must be above 0 and at most 1")
        return Metric(
            name=_required(as_label(get("name"), "name"), "name"),
            kind=kind,
            value="" if member is None else member,
            tags=_tags(get("tags")),
            rate=rate,
            ts_ms=self._time(fields, now_ms),
        )


def tokens_of(fields: Map) -> Tokens | None:
    """Read the token buckets of an `llm` map from `tokens`, `usage` or the flat forms, in this order.

    Raises:
        EventError: a count is no count.
    """
    tokens = fields.get("tokens")
    if tokens is not None:
        if not isinstance(tokens, dict):
            raise EventError(Reason.BAD_FIELD, "tokens must be a map")
        return _disjoint(cast("Map", tokens))
    usage = fields.get("usage")
    if usage is not None:
        if not isinstance(usage, dict):
            raise EventError(Reason.BAD_FIELD, "usage must be a map")
        return normalise(cast("Map", usage), as_label(fields.get("provider"), "provider"))
    into = _either(fields, "input_tokens", "prompt_tokens")
    out = _either(fields, "output_tokens", "completion_tokens")
    if into is None and out is None:
        return None
    return _disjoint({"input": into, "output": out})


def _either(fields: Map, name: str, other: str) -> int | None:
    count = as_count(fields.get(name), name)
    return as_count(fields.get(other), other) if count is None else count


def _disjoint(tokens: Map) -> Tokens:
    """Read buckets that the sender keeps apart already; their sum is the total wherever it can be made."""
    get = tokens.get
    into = as_count(get("input"), "tokens.input")
    read = as_count(get("cache_read"), "tokens.cache_read")
    write = as_count(get("cache_write"), "tokens.cache_write")
    write_1h = as_count(get("cache_write_1h"), "tokens.cache_write_1h")
    out = as_count(get("output"), "tokens.output")
    total = as_count(get("total"), "tokens.total")
    if into is not None and out is not None:
        total = into + (read or 0) + (write or 0) + (write_1h or 0) + out
    return Tokens(into, read, write, write_1h, out, as_count(get("reasoning"), "tokens.reasoning"), total)


def _outcome(status: object, error: object) -> tuple[str, ErrorKind | None, int | None, str | None]:
    """Fold `status` and `error` into status, kind, code and message."""
    word = status.lower() if isinstance(status, str) else None
    if status is not None and word is None:
        raise EventError(Reason.BAD_FIELD, "status must be text")
    if not error:
        if not word or word in _OK_WORDS:
            return "ok", None, None, None
        return "error", _KIND_WORDS.get(word, ErrorKind.OTHER), None, None
    details: Map = cast("Map", error) if isinstance(error, dict) else {"message": error}
    code = _code(details.get("code"))
    message = as_message(details.get("message"), "error.message")
    named = details.get("kind")
    kind = _KIND_WORDS.get(named.lower()) if isinstance(named, str) else None
    if kind is None and word is not None:
        kind = _KIND_WORDS.get(word)
    if kind is None:
        kind = _KIND_OF_CODE.get(code or 0, ErrorKind.OTHER)
    return "error", kind, code, message


def _code(value: object) -> int | None:
    try:
        return as_count(value, "error.code")
    except EventError:
        # Where the HTTP status belongs some put a word ("ECONNRESET") or JSON-RPC's -32603. Of all calls
        # a failed one must not be lost over it.
        return None


def _given_id(value: object) -> str:
    text = as_label(value, "id")
    if text is None or len(text.encode()) > _ID_BYTES:
        raise EventError(Reason.BAD_FIELD, f"id must be text of 1 to {_ID_BYTES} bytes")
    return text


def _required(value: str | None, field: str) -> str:
    if value is None:
        raise EventError(Reason.MISSING_FIELD, f"{field} is required")
    return value


def _duration(value: object, field: str) -> float:
    number = float(as_number(value, field))
    if number < 0:
        raise EventError(Reason.BAD_FIELD, f"{field} must not be negative")
    return number


def _cost(stated: object, usage: object) -> int | None:
    """Return nano-dollars as the sender states them, in the event or inside its usage object."""
    if stated is not None:
        return _nusd(stated)
    return reported_nusd(cast("Map", usage)) if isinstance(usage, dict) else None


def _nusd(value: object) -> int:
    number = as_number(value, "cost_usd")
    if not 0 <= number <= _COST_LIMIT_USD:
        raise EventError(Reason.BAD_FIELD, f"cost_usd must be from 0 to {_COST_LIMIT_USD}")
    return round(number * _NUSD_PER_USD)


def _severity(value: object, default: Severity) -> Severity:
    if value is None:
        return default
    severity = _SEVERITY_WORDS.get(value.lower()) if isinstance(value, str) else None
    if severity is None:
        raise EventError(Reason.BAD_FIELD, f"severity must be one of {', '.join(Severity)}")
    return severity


def _metric_kind(value: object) -> MetricKind:
    if value is None:
        return MetricKind.GAUGE
    kind = _METRIC_WORDS.get(value) if isinstance(value, str) else None
    if kind is None:
        raise EventError(Reason.BAD_FIELD, f"kind must be one of {', '.join(_METRIC_WORDS)}")
    return kind


def _tags(value: object) -> tuple[str, ...]:
    """Return tags as sorted `key:value` texts, from a map or a list of them."""
    if value is None:
        return ()
    if isinstance(value, dict):
        pairs = cast("Map", value)
        words = [
            f"{name}:{as_label(item, 'tags') or ''}"
            for key, item in pairs.items()
            if (name := as_label(key, "tags")) is not None
        ]
    elif isinstance(value, list):
        words = [word for item in value if (word := as_label(item, "tags")) is not None]
    else:
        raise EventError(Reason.BAD_FIELD, "tags must be a map or a list")
    return tuple(sorted(set(words)))


_CommonValues = tuple[
    str, bool, float, int, str | None, str | None, str | None, str | None, str | None, str | None
]
_BUILDERS: Final[dict[str, Callable[[EventReader, Map, float, str], AnyEvent]]] = {
    "llm": EventReader._llm,  # noqa: SLF001 - the table of this module's own class
    "event": EventReader._event,  # noqa: SLF001
    "error": EventReader._error,  # noqa: SLF001
    "metric": EventReader._metric,  # noqa: SLF001
}
