"""Bring the settings together: environment, parsed TOML file and facts of the machine in, `Settings` out.

`TRACE_AGENT_<NAME>` beats the file, the file beats the default; an empty variable counts as unset, except
where the table of settings says that it means none. Nothing unknown passes: a misspelt key stops the
start instead of being without effect.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar, cast

from attrs import frozen

from trace_agent.core.errors import SettingsError
from trace_agent.core.settings_net import Address, shown_url
from trace_agent.core.settings_rows import MachineFacts, Row, rows_of
from trace_agent.core.settings_table import (
    EventType,
    Log,
    LogFormat,
    LogLevel,
    LogRule,
    PushFormat,
    Settings,
    Switch,
    TextPolicy,
    Upstream,
)
from trace_agent.core.settings_values import HIDDEN, BadValueError, Mode, shown

__all__ = [
    "Address",
    "ConfigFile",
    "EventType",
    "Log",
    "LogFormat",
    "LogLevel",
    "LogRule",
    "MachineFacts",
    "Mode",
    "PushFormat",
    "Row",
    "Settings",
    "Shown",
    "Switch",
    "TextPolicy",
    "Upstream",
    "config_files",
    "describe",
    "load",
    "rows_of",
]

T = TypeVar("T")

_PREFIX: Final = "TRACE_AGENT_"
_CONFIG: Final = "TRACE_AGENT_CONFIG"
# Where clients find the agent (CONTRACT section 5), and which file to read: no settings of ours.
_LET_BE: Final = frozenset({"TRACE_AGENT_HOST", "TRACE_AGENT_PORT", "TRACE_AGENT_URL", _CONFIG})
_DEFAULT_FILES: Final = ("./trace-agent.toml", "/etc/trace-agent.toml")
# A misspelt secret is a secret still.
_SECRET_WORDS: Final = ("token", "secret", "password", "key", "auth", "header", "credential")
# Longer names than this are no slip of the fingers, and comparing is quadratic.
_NAME_CHARS: Final = 64


@frozen
class ConfigFile:
    """A file that may hold settings.

    Attributes:
        path: as it was given.
        required: somebody named it, so that its absence is an error.
    """

    path: str
    required: bool


@frozen
class Shown:
    """One line of `trace-agent config`: secrets are masked, all is fit to print."""

    name: str
    value: str
    origin: str


@frozen
class _Given:
    """A value as the user wrote it, and where."""

    key: str
    value: object
    origin: str


def config_files(option: str | None, env: Mapping[str, str]) -> tuple[ConfigFile, ...]:
    """Return the files to look for, in order; the first that is there counts, alone.

    Args:
        option: the value of `--config`.
        env: environment variables.
    """
    named = option if option is not None else env.get(_CONFIG, "").strip()
    if named or option is not None:
        return (ConfigFile(named, required=True),)
    return tuple(ConfigFile(path, required=False) for path in _DEFAULT_FILES)


def load(
    env: Mapping[str, str], files: Sequence[tuple[str, Mapping[str, object]]], facts: MachineFacts
) -> Settings:
    """Bring the settings together and check them.

    Args:
        env: environment variables, also those of others.
        files: path and parsed TOML of the files that were found, in the order of `config_files`.
        facts: what defaults depend on.

    Raises:
        SettingsError: naming the first key that is unknown, has a value that cannot be used, or
            contradicts another.
    """
    given: dict[str, _Given] = {}
    if files:
        path, table = files[0]
        given |= _from_table(Settings, table, "", f"file {path}")
    given |= _from_env(env)
    origins: dict[str, str] = {}
    settings = _build(Settings, given, facts, "", origins)
    _check(settings, given)
    return settings


def describe(settings: Settings) -> list[Shown]:
    """Return every setting with its value and origin, in the order of the table."""
    return list(_describe(settings, "", settings.origins))


def _from_env(env: Mapping[str, str]) -> dict[str, _Given]:
    rows = {row.name.upper(): row for row in rows_of(Settings)}
    given = {}
    for key, text in env.items():
        if not key.startswith(_PREFIX) or key in _LET_BE:
            continue
        name = key.removeprefix(_PREFIX)
        row = rows.get(name)
        if row is None:
            raise _unknown(_PREFIX, name, text, rows, "")
        if row.table is not None:
            raise SettingsError(key, HIDDEN, f"tables stand in the file: [[{row.name}]]")
        if text.strip() or row.empty_is_none:
            given[row.name] = _Given(key, text.strip(), f"env {key}")
    return given


def _from_table(of: type, table: Mapping[str, object], prefix: str, origin: str) -> dict[str, _Given]:
    rows = {row.name: row for row in rows_of(of)}
    given = {}
    for name, value in table.items():
        row = rows.get(name)
        if row is None:
            raise _unknown(prefix, name, value, rows, origin)
        text = value.strip() if isinstance(value, str) else value
        if text != "" or row.empty_is_none:
            given[name] = _Given(prefix + name, text, origin)
    return given


def _build(
    of: type[T],
    given: Mapping[str, _Given],
    facts: MachineFacts,
    prefix: str,
    origins: dict[str, str],
) -> T:
    """Build `Settings`, or the class of one of its tables, and note where the values came from."""
    values: dict[str, object] = {}
    for row in rows_of(of):
        entry = given.get(row.name)
        origins[prefix + row.name] = "default" if entry is None else entry.origin
        if row.table is not None:
            values[row.name] = () if entry is None else _build_tables(row.table, entry, facts, origins)
        elif entry is not None:
            values[row.name] = _read(row, entry, facts)
        elif row.required:
            raise SettingsError(prefix + row.name, "none", f"must be set: {row.help}")
        else:
            values[row.name] = _default(row, prefix, facts)
    if of is Settings:
        values["origins"] = origins
    # Each value comes from the reader beside its field, which the type checker has compared with it.
    return of(**cast("dict[str, Any]", values))


def _build_tables(of: type[T], entry: _Given, facts: MachineFacts, origins: dict[str, str]) -> tuple[T, ...]:
    tables = entry.value
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise _error(entry, shown(tables), f"must be tables: [[{entry.key}]]")
    built = []
    for place, table in enumerate(tables, start=1):
        prefix = f"{entry.key}[{place}]."
        built.append(_build(of, _from_table(of, table, prefix, entry.origin), facts, prefix, origins))
    return tuple(built)


def _read(row: Row, entry: _Given, facts: MachineFacts) -> object:
    try:
        value = row.read(entry.value)
    except BadValueError as exc:
        raise _error(entry, row.show(entry.value), str(exc)) from None
    if row.in_home and isinstance(value, str) and value.startswith("~/"):
        return facts.home + value.removeprefix("~")
    return value


def _default(row: Row, prefix: str, facts: MachineFacts) -> object:
    text = row.default(facts) if callable(row.default) else row.default
    return None if text is None else _read(row, _Given(prefix + row.name, text, "default"), facts)


def _check(settings: Settings, given: Mapping[str, _Given]) -> None:
    """Refuse settings that are valid alone and not together."""
    for name in ("listen", "otlp_listen"):
        address: Address | None = getattr(settings, name)
        if address is not None and not address.is_loopback and settings.token is None:
            raise _error(
                given[name],
                str(address),
                "other machines can reach this address: set a token too, or listen on 127.0.0.1",
            )
    if settings.otlp_listen == settings.listen and settings.listen.port != 0:
        raise _error(given["otlp_listen"], str(settings.otlp_listen), "is what `listen` has already")
    seen: set[str] = set()
    for upstream in settings.upstreams:
        if upstream.key in seen:
            raise _error(given["upstream"], upstream.key, "each upstream needs a `name` of its own")
        seen.add(upstream.key)


def _describe(table: object, prefix: str, origins: Mapping[str, str]) -> Iterator[Shown]:
    for row in rows_of(type(table)):
        name, value = prefix + row.name, getattr(table, row.name)
        if row.table is None or not value:
            yield Shown(name, row.show(value), origins[name])
            continue
        for place, inner in enumerate(cast("tuple[object, ...]", value), start=1):
            yield from _describe(inner, f"{name}[{place}].", origins)


def _unknown(prefix: str, name: str, value: object, known: Iterable[str], origin: str) -> SettingsError:
    import difflib  # noqa: PLC0415 - only a wrong key needs it, and the agent would carry it for good

    nearest = difflib.get_close_matches(name[:_NAME_CHARS], list(known), n=1)
    hint = f"did you mean {prefix}{nearest[0]}?" if nearest else "`trace-agent config` lists those there are"
    words = " ".join([name, *nearest]).lower()
    value_shown = HIDDEN if any(word in words for word in _SECRET_WORDS) else shown_url(value)
    return _error(
        _Given(shown(prefix + name), value, origin), value_shown, f"there is no such setting: {hint}"
    )


def _error(entry: _Given, value_shown: str, remedy: str) -> SettingsError:
    where = f" ({entry.origin})" if entry.origin.startswith("file ") else ""
    return SettingsError(entry.key, value_shown, remedy + where)
