"""Print one model call with everything known of it: an item in wire form in, lines out."""

import json
from datetime import UTC, datetime
from typing import TextIO, cast

from trace_agent.core.events import Json
from trace_agent.views.rows import JsonMap
from trace_agent.views.terminal import console_for, cost_text, duration_text, safe

__all__ = ["print_call"]

_PARTS = ("input", "output")
# Shown in words of their own, or not worth a line.
_SPECIAL = frozenset(
    {"type", "ts", "received_ts", "tokens", "cost_usd", "computed_cost_usd", "error", *_PARTS}
)


def print_call(call: JsonMap, stream: TextIO) -> None:
    """Print a call as `name value` lines, then its words if it has them."""
    from rich.text import Text  # noqa: PLC0415 - loaded by read commands that print, not by those before

    console = console_for(stream)
    lines = _lines(call)
    width = max(len(name) for name, _ in lines)
    for name, value in lines:
        style = "red" if name in {"error", "status"} and call["status"] == "error" else ""
        console.print(
            Text(f"{name:<{width}}  ", style="bold") + Text(safe(value), style=style), soft_wrap=True
        )
    for part in _PARTS:
        if part in call:
            console.print(Text(f"\n{part}", style="bold"))
            console.print(Text(safe(_words(call[part]), lines=True)), soft_wrap=True)


def _lines(call: JsonMap) -> list[tuple[str, str]]:
    lines = [("id", str(call["id"])), ("time", _time(call))]
    lines += [(name, _plain(value)) for name, value in call.items() if name not in _SPECIAL and name != "id"]
    tokens = cast("dict[str, int]", call["tokens"])
    lines.append(("tokens", ", ".join(f"{bucket} {count:,}" for bucket, count in tokens.items()) or "?"))
    cost = cast("float | None", call["cost_usd"])
    lines.append(("cost", f"{cost_text(cost)} ({call['cost_basis']})"))
    if "error" in call:
        error = cast("JsonMap", call["error"])
        lines.append(("error", " ".join(str(value) for value in error.values())))
    return [
        (name, duration_text(float(value)) if name.endswith("_ms") else value)
        for name, value in lines
        if name != "cost_basis"
    ]


def _time(call: JsonMap) -> str:
    moment = datetime.fromtimestamp(cast("float", call["ts"]) / 1000, UTC).astimezone()
    return moment.isoformat(sep=" ", timespec="milliseconds")


def _plain(value: Json) -> str:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ", ".join(map(str, value))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _words(value: Json) -> str:
    """Show a text as it is, a list of messages one by one, anything else as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "\n".join(_message(element) for element in value)
    return json.dumps(value, ensure_ascii=False, indent=2)


def _message(value: Json) -> str:
    if isinstance(value, dict) and isinstance(value.get("content"), str):
        rest = {name: item for name, item in value.items() if name not in {"role", "content"}}
        more = f"\n{json.dumps(rest, ensure_ascii=False)}" if rest else ""
        return f"[{value.get('role', '?')}] {value['content']}{more}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)
