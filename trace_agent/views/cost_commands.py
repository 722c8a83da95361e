"""Define `costs` and `prices`: sub-parsers out, each with a `perform(args, settings)`.

What runs them is handed in by `commands`, and what they need is imported when they run.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from trace_agent.core.settings import Settings
    from trace_agent.views.terminal import Clock

__all__ = ["Add", "add_cost_parsers"]

_Command = Callable[[Namespace, "Settings", "Clock"], int]

# Adds a command of a name and a description.
Add = Callable[["_SubParsersAction[ArgumentParser]", _Command, str, str], ArgumentParser]

_FILTERS: Final = ("agent", "session", "run", "model", "provider")


def add_cost_parsers(
    subparsers: "_SubParsersAction[ArgumentParser]", add: Add, add_times: Callable[[ArgumentParser], None]
) -> None:
    """Add `costs` and `prices`.

    Args:
        subparsers: of the whole command line.
        add: makes a parser whose `perform` calls a command.
        add_times: adds `--since` and `--until`.
    """
    costs = add(subparsers, _costs, "costs", "what calls cost, and their tokens, summed up")
    costs.add_argument(
        "--by", metavar="LIST",
        help="model (default), agent, session, run, provider, day, hour, or several: day,model;"
        " days and hours are UTC",
    )  # fmt: skip
    _add_selection(costs, add_times, (*_FILTERS, "status", "kind"), "lines")

    prices = subparsers.add_parser(
        "prices", help="what models cost, and why a call cost what it did", description="Prices of models."
    )
    actions = prices.add_subparsers(dest="action", metavar="ACTION", required=True)
    show = add(actions, _show, "show", "the prices of a model")
    show.add_argument("model", metavar="MODEL", help="as the agent names it")
    show.add_argument("--provider", metavar="PROVIDER", help="as the agent names it")
    explain = add(actions, _explain, "explain", "how the cost of a stored call came about, line by line")
    explain.add_argument("id", metavar="ID", help="of the call, as `traces` shows it")
    for parser in (show, explain):
        parser.add_argument("--json", action="store_true", help="as JSON")
    missing = add(actions, _missing, "missing", "models of calls whose price is unknown, and why it is")
    _add_selection(missing, add_times, _FILTERS, "models")
    build = add(actions, _build, "build", "make a price table of the installed genai-prices")
    build.add_argument(
        "-o", "--output", metavar="FILE",
        help="instead of prices.sqlite beside the database, where it replaces the shipped prices",
    )  # fmt: skip
    refresh = add(
        actions, _refresh, "refresh", "make a price table, beside the database, of newer genai-prices data"
    )
    refresh.add_argument(
        "--from", dest="source", metavar="FILE", required=True,
        help="a data.json of https://github.com/pydantic/genai-prices",
    )  # fmt: skip


def _add_selection(
    parser: ArgumentParser, add_times: Callable[[ArgumentParser], None], filters: tuple[str, ...], what: str
) -> None:
    add_times(parser)
    for option in filters:
        parser.add_argument(f"--{option}", metavar=option.upper(), help=f"only calls of this {option}")
    parser.add_argument("--limit", metavar="N", help=f"{what} at most (never more than 1000)")
    parser.add_argument("--json", action="store_true", help="as JSON")


def _costs(args: Namespace, settings: "Settings", now_ms: "Clock") -> int:
    from trace_agent.views.costs_report import run_costs  # noqa: PLC0415 - see the module's docstring

    return run_costs(args, settings, now_ms)


def _show(args: Namespace, settings: "Settings", now_ms: "Clock") -> int:
    from trace_agent.views.prices_report import run_show  # noqa: PLC0415

    return run_show(args, settings, now_ms)


def _explain(args: Namespace, settings: "Settings", now_ms: "Clock") -> int:
    from trace_agent.views.prices_report import run_explain  # noqa: PLC0415

    return run_explain(args, settings, now_ms)


def _missing(args: Namespace, settings: "Settings", now_ms: "Clock") -> int:
    from trace_agent.views.prices_report import run_missing  # noqa: PLC0415

    return run_missing(args, settings, now_ms)


def _build(args: Namespace, settings: "Settings", _now_ms: "Clock") -> int:
    from trace_agent.views.price_building import run_build  # noqa: PLC0415

    return run_build(args, settings)


def _refresh(args: Namespace, settings: "Settings", _now_ms: "Clock") -> int:
    from trace_agent.views.price_building import run_refresh  # noqa: PLC0415

    return run_refresh(args, settings)
