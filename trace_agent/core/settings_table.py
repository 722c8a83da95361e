"""The settings (CONTRACT section 5), one entry each: name, type, reader, default and a line of help.

Everything else follows from these classes by `rows_of`: what the environment and the file may hold, the
defaults, `trace-agent config`, and the table of the README. `settings.load` fills them.
"""
# ruff: noqa: RUF009 - `setting` makes a field, as `attrs.field` does; no default is shared between objects

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

import attrs
from attrs import frozen

from trace_agent.core.settings_net import (
    DEFAULT_LISTEN,
    Address,
    as_address,
    as_headers,
    as_health_url,
    as_host,
    as_token,
    as_url,
    shown_url,
)
from trace_agent.core.settings_rows import ROW, MachineFacts, rows_of, setting, tables
from trace_agent.core.settings_values import (
    Mode,
    as_bool,
    as_command,
    as_line,
    as_mode,
    as_path,
    as_paths,
    as_pattern,
    as_scalars,
    as_socket_path,
    choice,
    items,
    number,
    optional,
    shown_secret,
    whole,
)

__all__ = [
    "EventType",
    "Log",
    "LogFormat",
    "LogLevel",
    "LogRule",
    "PushFormat",
    "Settings",
    "Switch",
    "TextPolicy",
    "Upstream",
]

_DAY_S: Final = 86_400
_TB_IN_MB: Final = 1_000_000
_SHARE: Final = number(0.01, 1)


class TextPolicy(StrEnum):
    """What is kept of the words of a call."""

    FULL = "full"
    TRUNCATE = "truncate"
    HASH = "hash"
    OFF = "off"


class Switch(StrEnum):
    """Whether an observer runs; `auto` where it finds something to observe."""

    AUTO = "auto"
    ON = "on"
    OFF = "off"


class PushFormat(StrEnum):
    """What an upstream is sent."""

    JSON = "json"
    OTLP = "otlp"


class LogFormat(StrEnum):
    """How the lines of a log are read."""

    JSON = "json"


class LogLevel(StrEnum):
    """The least important messages that go to stderr."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class EventType(StrEnum):
    """What a line of a log becomes."""

    LLM = "llm"
    EVENT = "event"
    ERROR = "error"
    METRIC = "metric"


def _socket(facts: MachineFacts) -> str:
    if facts.uid == 0:
        return "/run/trace-agent/agent.sock"
    if _is_absolute(facts.xdg_runtime_dir):
        return f"{facts.xdg_runtime_dir}/trace-agent.sock"
    return f"/tmp/trace-agent-{facts.uid}/agent.sock"  # noqa: S108 - the directory is made 0700 and checked


def _db(facts: MachineFacts) -> str:
    if facts.data_writable:
        return "/data/trace-agent/traces.db"
    state = facts.xdg_state_home if _is_absolute(facts.xdg_state_home) else f"{facts.home}/.local/state"
    return f"{state}/trace-agent/traces.db"


def _openclaw_home(facts: MachineFacts) -> str | None:
    return f"{facts.home}/.openclaw" if facts.openclaw_home_exists else None


def _is_absolute(path: str | None) -> bool:
    # A relative path in these variables is invalid and to be ignored (XDG Base Directory, "Basics").
    return path is not None and path.startswith("/")


@frozen(kw_only=True)
class Upstream:
    """Where rows are pushed to: one `[[upstream]]` table, or the `push_` settings.

    A table inherits nothing from the `push_` settings: a token is for one receiver.
    """

    name: str | None = setting(
        optional(as_line), None, "what its progress is stored under", default_shown="the URL"
    )
    url: str = setting(as_url, None, "receives the pushes", required=True, show=shown_url)
    format: PushFormat = setting(choice(PushFormat), "json", "`json` or `otlp`")
    interval_s: float = setting(number(1, _DAY_S), "300", "time from one push to the next")
    ca_file: str | None = setting(
        optional(as_path), None, "PEM file to trust instead of the system's authorities", in_home=True
    )
    alarm_s: float = setting(number(1, 365 * _DAY_S), "3600", "failing longer than this is an alarm")
    token: str | None = setting(as_token, None, "sent as `Authorization: Bearer`", show=shown_secret)
    headers: tuple[tuple[str, str], ...] = setting(
        as_headers, "", "`Name: value`, sent with each push", show=shown_secret
    )
    max_mb: int = setting(whole(1, 64), "4", "largest body, before compression")
    text: bool = setting(as_bool, "true", "whether the words of calls are pushed")

    @property
    def key(self) -> str:
        """Return the name its progress is stored under; a query can hold a secret and is left out."""
        return self.name or self.url.partition("?")[0]


@frozen(kw_only=True)
class LogRule:
    """What the lines become that it matches; of several rules, the first that matches counts."""

    type: EventType = setting(choice(EventType), None, "what a line becomes", required=True)
    when: tuple[tuple[str, str | int | float | bool], ...] = setting(
        as_scalars, "none", "dotted path in the line = value; all must hold", default_shown="every line"
    )
    fields: tuple[tuple[str, str], ...] = setting(
        as_paths, None, "field of the event = dotted path in the line", required=True
    )


@frozen(kw_only=True)
class Log:
    """A log of another agent to follow: one `[[log]]` table."""

    path: str = setting(as_path, None, "the file; `*` and `?` match names", required=True, in_home=True)
    format: LogFormat = setting(choice(LogFormat), "json", "`json`: one object a line")
    rules: tuple[LogRule, ...] = tables(LogRule, "what its lines become")


def _push(name: str) -> Any:  # noqa: ANN401 - the annotation beside each call says the type
    """Make the `push_` twin of a field of `Upstream`."""
    row = next(row for row in rows_of(Upstream) if row.name == name)
    return attrs.field(metadata={ROW: row}, repr=row.show)


@frozen(kw_only=True)
class Settings:
    """All settings, checked. Made by `settings.load`; units stand in the names.

    Attributes:
        origins: where each value came from, by name: `default`, `env TRACE_AGENT_X`, `file x.toml`;
            those of tables as `upstream[1].url`.
    """

    listen: Address = setting(as_address, str(DEFAULT_LISTEN), "UDP and HTTP, `host:port` or a port")
    otlp_listen: Address | None = setting(
        optional(as_address), None, "a second HTTP address, as a rule `127.0.0.1:4318`", default_shown="off"
    )
    socket: str = setting(
        as_socket_path,
        _socket,
        "Unix socket",
        default_shown="`/run/trace-agent/agent.sock` as root, else `$XDG_RUNTIME_DIR/trace-agent.sock`, "
        "else `/tmp/trace-agent-<uid>/agent.sock`",
        in_home=True,
    )
    socket_mode: Mode = setting(as_mode, "0600", "permissions of the socket, octal")
    socket_group: str | None = setting(optional(as_line), None, "group of the socket, name or number")
    allowed_hosts: tuple[str, ...] = setting(
        items(as_host), "", "further `Host` names that HTTP answers to", default_shown="loopback names"
    )
    token: str | None = setting(
        as_token, None, "when set, HTTP needs `Authorization: Bearer ..`", show=shown_secret
    )
    db: str = setting(
        as_path,
        _db,
        "the SQLite file, 0600 in a directory 0700",
        default_shown="`/data/trace-agent/traces.db` when `/data` is writable, "
        "else `$XDG_STATE_HOME/trace-agent/traces.db`",
        in_home=True,
    )
    flush_interval_s: float = setting(
        number(0.01, 60), "1", "longest time an accepted event waits for its commit"
    )
    ring_mb: int = setting(whole(1, 4096), "16", "all waiting packets and events together")
    max_series: int = setting(whole(1, 1_000_000), "10000", "metric series; the rest folds into `__other__`")
    prices_file: str | None = setting(
        optional(as_path), None, "TOML with own prices and aliases", in_home=True
    )
    text: TextPolicy = setting(
        choice(TextPolicy), "full", "words of calls: `full`, `truncate`, `hash`, `off`"
    )
    max_text_kb: int = setting(whole(1, 16_384), "256", "per field; the cut is marked")
    redact: bool = setting(as_bool, "true", "mask known shapes of secrets before anything is stored")
    redact_patterns: tuple[str, ...] = setting(
        items(as_pattern), "", "further regular expressions to mask; a comma in one is written `\\,`"
    )
    retention_days: float = setting(number(0.01, 36_500), "7", "by time of arrival")
    max_db_mb: int = setting(whole(8, _TB_IN_MB), "256", "database and WAL together")
    min_free_mb: int = setting(whole(0, _TB_IN_MB), "64", "oldest data goes first when the volume has less")
    metrics_interval_s: float = setting(
        number(0.1, _DAY_S, or_zero=True), "15", "host and process sampling; 0 is off"
    )
    watch: tuple[str, ...] = setting(
        items(as_line), "openclaw", "processes to watch: names or command-line patterns", empty_is_none=True
    )
    openclaw_home: str | None = setting(
        optional(as_path),
        _openclaw_home,
        "OpenClaw's directory",
        default_shown="`~/.openclaw` when there",
        in_home=True,
    )
    openclaw_logs: Switch = setting(choice(Switch), "auto", "its logs: `auto`, `on`, `off`")
    openclaw_transcripts: Switch = setting(choice(Switch), "auto", "its transcripts: `auto`, `on`, `off`")
    push_url: str | None = setting(
        optional(as_url), None, "nothing leaves the machine without it", show=shown_url
    )
    push_format: PushFormat = _push("format")
    push_interval_s: float = _push("interval_s")
    push_ca_file: str | None = _push("ca_file")
    push_alarm_s: float = _push("alarm_s")
    push_token: str | None = _push("token")
    push_headers: tuple[tuple[str, str], ...] = _push("headers")
    push_max_mb: int = _push("max_mb")
    push_text: bool = _push("text")
    upstream: tuple[Upstream, ...] = tables(Upstream, "further receivers, the keys without `push_`")
    budget_usd_day: float | None = setting(
        optional(number(0.01, 1_000_000)), None, "costs of a day above this raise an alarm"
    )
    error_rate_alarm: float | None = setting(optional(_SHARE), None, "share of failed calls, 0.2 for 20 %")
    memory_alarm: float | None = setting(optional(_SHARE), "0.9", "share of memory in use")
    disk_alarm: float | None = setting(optional(_SHARE), "0.9", "share of a volume in use")
    alarm_command: tuple[str, ...] = setting(
        as_command, "off", "program that is given each alarm as JSON; no shell", default_shown="none"
    )
    health_urls: tuple[str, ...] = setting(
        items(as_health_url), "auto", "polled; `auto`: the watched gateway's", show=shown_url
    )
    dns_probe: str | None = setting(optional(as_host), None, "a name to resolve each interval")
    log: tuple[Log, ...] = tables(Log, "JSON-lines logs of other agents: `path`, `format`, `rules`")
    log_level: LogLevel = setting(choice(LogLevel), "info", "to stderr: `debug`, `info`, `warning`, `error`")
    origins: Mapping[str, str] = attrs.field(eq=False, repr=False)

    @property
    def http_hosts(self) -> frozenset[str]:
        """Return the `Host` names that HTTP answers to, beside the loopback ones."""
        listening = (self.listen, self.otlp_listen)
        return frozenset(self.allowed_hosts).union(*(address.names for address in listening if address))

    @property
    def upstreams(self) -> tuple[Upstream, ...]:
        """Return every receiver, that of the `push_` settings first."""
        if self.push_url is None:
            return self.upstream
        first = Upstream(
            name=None,
            url=self.push_url,
            format=self.push_format,
            interval_s=self.push_interval_s,
            ca_file=self.push_ca_file,
            alarm_s=self.push_alarm_s,
            token=self.push_token,
            headers=self.push_headers,
            max_mb=self.push_max_mb,
            text=self.push_text,
        )
        return (first, *self.upstream)
