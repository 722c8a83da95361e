"""Run the read commands as the command line does: words in, exit code and output out."""

import argparse

import pytest
from attrs import frozen

from trace_agent.core.settings import Settings
from trace_agent.views.commands import add_parsers


@frozen
class Done:
    """What a command did."""

    code: int
    out: str
    err: str


def parse(*words: str) -> argparse.Namespace:
    """Parse a command line."""
    parser = argparse.ArgumentParser(prog="trace-agent")
    add_parsers(parser.add_subparsers(required=True))
    return parser.parse_args(words)


def command(capsys: pytest.CaptureFixture[str], settings: Settings, *words: str) -> Done:
    """Run a command in this process."""
    args = parse(*words)
    code = args.perform(args, settings)
    said = capsys.readouterr()
    return Done(code, said.out, said.err)
