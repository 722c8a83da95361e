"""The four things trace-agent keeps, as frozen records; `fields` builds them out of maps.

Everything a peer can put into an event has been checked when one of these exists: strings are valid
Unicode, numbers are finite and fit SQLite, JSON values are already encoded as compact JSON text, so
that the writer neither validates nor encodes again.
"""

from enum import StrEnum
from typing import TypeAlias

from attrs import frozen

__all__ = [
    "AnyEvent",
    "ErrorKind",
    "Event",
    "Failure",
    "Json",
    "Llm",
    "Metric",
    "MetricKind",
    "Severity",
    "Text",
    "TextKind",
    "Tokens",
]

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"


class ErrorKind(StrEnum):
    """Why a model call failed."""

    RATE_LIMIT = "rate_limit"
    TIMEOUT = "timeout"
    AUTH = "auth"
    CONTEXT_LENGTH = "context_length"
    OVERLOADED = "overloaded"
    CONNECTION = "connection"
    MALFORMED = "malformed"
    CANCELLED = "cancelled"
    CONTENT_FILTER = "content_filter"
    OTHER = "other"


class Severity(StrEnum):
    """How bad an event or error is."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    FATAL = "fatal"


class MetricKind(StrEnum):
    """What a sample means and how samples of one window are folded."""

    GAUGE = "gauge"
    COUNTER = "counter"
    TIMER = "timer"
    HISTOGRAM = "histogram"
    DISTRIBUTION = "distribution"
    SET = "set"


class TextKind(StrEnum):
    """What the parts of a `Text` are."""

    TEXT = "text"  # one part, a string as it came
    JSON = "json"  # one part, any other value as JSON text
    LIST = "list"  # a part per element (a message, as a rule), each as JSON text


@frozen
class Text:
    """The words of a call: what went in or came out, cut where the store can share it.

    Attributes:
        kind: how to read the parts.
        parts: strings without lone surrogates.
    """

    kind: TextKind
    parts: tuple[str, ...]


@frozen
class Tokens:
    """Token counts in disjoint buckets; None means that the sender did not tell.

    `total` = input + cache_read + cache_write + cache_write_1h + output. `reasoning` is part of `output`.
    """

    input: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None
    cache_write_1h: int | None = None
    output: int | None = None
    reasoning: int | None = None
    total: int | None = None


@frozen
class _Common:
    """What every stored event has.

    Attributes:
        id: unique per type; made by us where `own_id` is true, so it cannot repeat.
        ts_ms: Unix milliseconds, when it happened.
        received_ms: Unix milliseconds, when it reached us.
        attributes: a JSON object as text, or None.
    """

    id: str
    own_id: bool
    ts_ms: float
    received_ms: int
    agent: str | None
    session: str | None
    run: str | None
    trace_id: str | None
    span_id: str | None
    attributes: str | None


@frozen
class Llm(_Common):
    """One call to a model.

    Attributes:
        seen_by: the input that brought this sighting: `udp`, `unix`, `http`, `otlp`, ..
        usage: the provider's usage object as JSON text, as it came.
        cost_nusd: nano-dollars, as the sender reports them.
        status: `ok` or `error`.
    """

    seen_by: str
    provider: str | None = None
    model: str | None = None
    response_model: str | None = None
    operation: str = "chat"
    input: Text | None = None
    output: Text | None = None
    tokens: Tokens | None = None
    usage: str | None = None
    cost_nusd: int | None = None
    latency_ms: float | None = None
    ttft_ms: float | None = None
    status: str = "ok"
    error_kind: ErrorKind | None = None
    error_code: int | None = None
    error_message: str | None = None
    finish_reason: str | None = None
    request_id: str | None = None


@frozen
class Event(_Common):
    """Something the agent, or trace-agent itself, says happened."""

    name: str
    duration_ms: float | None = None
    severity: Severity = Severity.INFO


@frozen
class Failure(_Common):
    """An error that is no failed model call as such: `type` `error` on the wire.

    Attributes:
        kind: dotted, `llm.rate_limit`, `process.crash`.
    """

    kind: str
    message: str | None = None
    severity: Severity = Severity.ERROR
    stack: str | None = None
    source: str | None = None


@frozen
class Metric:
    """One sample, or several equal ones.

    Attributes:
        value: a number; the member for a set.
        tags: sorted, each `key:value` or a bare word.
        rate: sample rate in (0, 1]; a counter or timer of rate 0.1 stands for ten.
        delta: the value is added to the gauge instead of replacing it.
        ts_ms: Unix milliseconds.
        times: how many equal samples this stands for.
    """

    name: str
    kind: MetricKind
    value: float | str
    tags: tuple[str, ...]
    rate: float
    ts_ms: float
    delta: bool = False
    times: int = 1


AnyEvent: TypeAlias = Llm | Event | Failure | Metric
