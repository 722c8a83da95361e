"""The command line: arguments in, an exit code out.

0 is fine, 1 found a problem, 2 is wrong usage or settings, 3 means that the agent cannot be reached or
the store cannot be opened (CONTRACT section 6). Each command imports what it needs when it runs: the
resident one must not pay for the tables of the others.
"""

import argparse
import logging
import sys
from collections.abc import Sequence

from trace_agent import __version__
from trace_agent.core.errors import ListenError, SettingsError, StoreError
from trace_agent.core.settings import Settings, describe
from trace_agent.machine import now_ms, read_settings

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        arguments: without the program's name; those of the process when None.
    """
    begun_ms = now_ms()
    words = sys.argv[1:] if arguments is None else list(arguments)
    # `--config` counts wherever it stands, before the command or after it.
    where = argparse.ArgumentParser(prog="trace-agent", add_help=False, allow_abbrev=False)
    where.add_argument("--config", metavar="FILE")
    chosen, words = where.parse_known_args(words)
    options = _parser(words).parse_args(words)
    try:
        settings = read_settings(chosen.config)
        if options.command == "run":
            return _run(settings, begun_ms)
        if options.command == "config":
            return _config(settings, as_json=options.json)
        return int(options.perform(options, settings))
    except (SettingsError, ListenError) as error:
        print(f"trace-agent: {error}", file=sys.stderr)  # noqa: T201 - a command's own words
        return 2
    except StoreError as error:
        print(f"trace-agent: {error}", file=sys.stderr)  # noqa: T201
        return 3


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="trace-agent",
        description="Records what an AI agent does, what it costs and how its host fares.",
    )
    parser.add_argument("--version", action="version", version=f"trace-agent {__version__}")
    parser.add_argument("--config", metavar="FILE", help="settings, TOML")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    commands.add_parser("run", help="receive, store and serve, until stopped")
    config = commands.add_parser("config", help="print the settings in effect and where each comes from")
    config.add_argument("--json", action="store_true", help="as JSON")
    if words[:1] != ["run"]:
        from trace_agent.views.commands import add_parsers  # noqa: PLC0415 - not needed by `run`

        add_parsers(commands)
    return parser


def _run(settings: Settings, begun_ms: int) -> int:
    import trio  # noqa: PLC0415 - the read commands do without

    from trace_agent.wiring import run  # noqa: PLC0415

    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr
    )
    return trio.run(run, settings, begun_ms)


def _config(settings: Settings, *, as_json: bool) -> int:
    import json  # noqa: PLC0415

    rows = describe(settings)
    if as_json:
        print(json.dumps({row.name: {"value": row.value, "origin": row.origin} for row in rows}, indent=2))  # noqa: T201
        return 0
    width = max(len(row.name) for row in rows)
    shown = max(len(row.value) for row in rows)
    for row in rows:
        print(f"{row.name:{width}}  {row.value:{min(shown, 60)}}  {row.origin}")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
