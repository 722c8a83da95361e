"""Print how trace-agent fares: from the running agent if there is one, else from the database alone."""

import sys
from argparse import Namespace
from pathlib import Path
from typing import Final, cast

from attrs import Factory, define

from trace_agent.core.errors import StoreError
from trace_agent.core.settings import Settings
from trace_agent.views.client import Reply, UnreachableError, ask
from trace_agent.views.figures import StoreFigures, read_figures
from trace_agent.views.readonly import snapshot
from trace_agent.views.rows import JsonMap
from trace_agent.views.terminal import (
    Clock,
    ago,
    bytes_text,
    console_for,
    count_text,
    safe,
    things,
    tolerate,
    write_json,
)

__all__ = ["Figures", "look", "run_status"]

_OK: Final = 0
_PROBLEM: Final = 1
_UNUSABLE: Final = 3

# By what another program's answer is told from ours.
_HEALTH_FIELDS: Final = frozenset({"status", "version", "pid", "uptime_s"})
_STATS_FIELDS: Final = frozenset({"packets", "events", "rows", "laws", "self"})
_TABLE_WORDS: Final = {"llm": "call", "events": "event", "errors": "error", "metrics": "metric window"}


@define
class Figures:
    """What could be found out.

    Attributes:
        health: the answer of `/health`, or None when nobody answers.
        stats: the answer of `/v1/stats`, or None when it could not be had.
        store: counted in the database of the settings, or None when it cannot be opened.
        problems: sentences; empty when all is well.
    """

    health: JsonMap | None = None
    stats: JsonMap | None = None
    store: StoreFigures | None = None
    problems: list[str] = Factory(list)


def run_status(args: Namespace, settings: Settings, now_ms: Clock) -> int:
    """Print the state of the agent and its store.

    Returns:
        0 when all is well, 1 when something is wrong or the agent does not run, 3 when there is neither
        an agent nor a database.
    """
    tolerate(sys.stdout)
    figures = look(settings)
    if args.json:
        write_json(_json(figures), sys.stdout)
    else:
        _print(figures, settings, now_ms())
    if figures.health is None and figures.store is None:
        return _UNUSABLE
    return _PROBLEM if figures.problems else _OK


def look(settings: Settings) -> Figures:
    """Ask the agent and the database."""
    figures = Figures()
    try:
        reply = ask(settings.listen, settings.token, "GET", "/health")
    except UnreachableError as error:
        figures.problems.append(f"trace-agent does not run: {error}")
    else:
        _judge_health(figures, reply, settings)
    try:
        with snapshot(Path(settings.db)) as connection:
            figures.store = read_figures(connection)
    except StoreError as error:
        figures.problems.append(str(error))
    return figures


def _judge_health(figures: Figures, reply: Reply, settings: Settings) -> None:
    body = reply.body
    if not isinstance(body, dict) or not body.keys() >= _HEALTH_FIELDS:
        figures.problems.append(f"something else than trace-agent answers on {settings.listen}")
        return
    figures.health = body
    problems = cast("list[JsonMap]", body.get("problems", []))
    figures.problems += [str(problem["message"]) for problem in problems]
    try:
        stats = ask(settings.listen, settings.token, "GET", "/v1/stats")
    except UnreachableError as error:
        figures.problems.append(str(error))
        return
    if not isinstance(stats.body, dict) or not stats.body.keys() >= _STATS_FIELDS:
        figures.problems.append(f"trace-agent does not tell its figures: {stats.message}")
        return
    figures.stats = stats.body
    figures.problems += cast("list[str]", _inner(stats.body, "laws")["broken"])
    path = str(_inner(_inner(stats.body, "self"), "store")["path"])
    if Path(path) != Path(settings.db).absolute():
        figures.problems.append(f"the agent stores in {path}, these settings name {settings.db}")


def _inner(value: JsonMap, name: str) -> JsonMap:
    return cast("JsonMap", value[name])


def _json(figures: Figures) -> JsonMap:
    """Return what `/v1/stats` gives; without the agent, the part that the database knows."""
    answer: JsonMap = {"running": figures.health is not None, "problems": [*figures.problems]}
    if figures.stats is not None:
        return answer | figures.stats
    if figures.store is not None:
        answer |= {
            "rows": figures.store.rows_json(),
            "dead_letters": figures.store.dead_letters,
            "upstreams": [*figures.store.upstreams_json()],
        }
    return answer


def _print(figures: Figures, settings: Settings, now_ms: int) -> None:
    from rich.text import Text  # noqa: PLC0415 - loaded by read commands that print, not by those before

    console = console_for(sys.stdout)
    lines = _agent_lines(figures, now_ms) + _store_lines(figures, settings, now_ms)
    width = max(len(name) for name, _ in lines)
    for name, value in lines:
        console.print(Text(f"{name:<{width}}  ", style="bold") + Text(safe(value)), soft_wrap=True)
    for problem in figures.problems:
        console.print(Text(f"✗ {safe(problem)}", style="red"), soft_wrap=True)
    if not figures.problems:
        console.print(Text("✓ all is well", style="green"))


def _agent_lines(figures: Figures, now_ms: int) -> list[tuple[str, str]]:
    if figures.health is None:
        return [("trace-agent", "not running")]
    health = figures.health
    uptime = ago(0, float(cast("float", health["uptime_s"])) * 1000)
    lines = [("trace-agent", f"{health['version']}, running as pid {health['pid']} for {uptime}")]
    if figures.stats is None:
        return lines
    own = _inner(figures.stats, "self")
    for carrier, counts in cast("dict[str, JsonMap]", figures.stats["packets"]).items():
        lines.append((carrier, _packets_line(counts, now_ms)))
    events = cast("dict[str, int]", figures.stats["events"])
    counted = f"{count_text(events['accepted'])} accepted, {count_text(events['waiting'])} waiting"
    lost = f"{_reasons(events['dropped'])} dropped, {_reasons(events['refused'])} refused"
    lines.append(("events", f"{counted}, {lost}"))
    resident, private = (cast("float | None", own[name]) for name in ("rss_bytes", "private_bytes"))
    lines.append(("memory", f"{bytes_text(resident)} resident, {bytes_text(private)} private"))
    lines.append(
        (
            "listening",
            ", ".join(
                f"{item['carrier']} {item['address']}" for item in cast("list[JsonMap]", own["listeners"])
            ),
        )
    )
    return lines


def _packets_line(counts: JsonMap, now_ms: int) -> str:
    if not counts["received"]:
        return "nothing yet"
    last = cast("float | None", counts["last_ms"])
    parts = [
        things(cast("int", counts["received"]), "packet")
        + ("" if last is None else f", the last {ago(last, now_ms)} ago")
    ]
    parts += [f"{_reasons(counts[fate])} {fate}" for fate in ("refused", "dropped") if counts[fate]]
    if counts["kernel_drops"]:
        parts.append(f"{count_text(cast('int', counts['kernel_drops']))} dropped by the kernel")
    return ", ".join(parts)


def _reasons(counts: object) -> str:
    """Show counts by reason, `0` for none: `3 (bad_json 2, empty 1)`."""
    reasons = cast("dict[str, int]", counts)
    if not reasons:
        return "0"
    return (
        f"{sum(reasons.values()):,} ({', '.join(f'{reason} {count:,}' for reason, count in reasons.items())})"
    )


def _store_lines(figures: Figures, settings: Settings, now_ms: int) -> list[tuple[str, str]]:
    lines = [("store", settings.db)]
    store = figures.store
    if store is None:
        return lines
    lines.append(
        ("rows", ", ".join(things(count, _TABLE_WORDS[table]) for table, count in store.tables.items()))
    )
    newest = max(store.newest_ms.values(), default=None)
    lines.append(("newest", "nothing yet" if newest is None else f"{ago(newest, now_ms)} ago"))
    if store.upstreams:
        lines.append(("upstreams", ", ".join(f"{up.name}: {up.pending:,} pending" for up in store.upstreams)))
    if store.dead_letters:
        lines.append(("dead letters", f"{store.dead_letters:,}"))
    return lines
