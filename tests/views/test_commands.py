"""The sub-parsers, and what becomes of whatever a command raises."""

import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest

from tests.views.commanding import parse
from trace_agent.core.errors import PeerError, Reason, SettingsError, StoreError
from trace_agent.core.settings import Settings
from trace_agent.views import commands
from trace_agent.views.client import UnreachableError
from trace_agent.views.probe import CARRIERS, LLM_OPTIONS


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (PeerError(Reason.BAD_REQUEST, "limit must be"), 2, "limit must be"),
        (PeerError(Reason.EMPTY), 2, "empty"),
        (StoreError("no database"), 3, "no database"),
        (UnreachableError("nobody \x1b[2J"), 3, "nobody \\x1b[2J"),
        (KeyboardInterrupt(), 1, ""),
    ],
)
def test_what_is_raised_becomes_an_exit_code(
    capsys: pytest.CaptureFixture[str], settings: Settings, error: BaseException, code: int, said: str
) -> None:
    """A line on stderr for a person, a number for a script, and no traceback."""

    def failing(_args: Namespace, _settings: Settings, _now_ms: object) -> int:
        raise error

    assert commands._guarded(failing)(Namespace(), settings) == code
    told = capsys.readouterr()
    assert told.out == ""
    assert said in told.err


@pytest.mark.parametrize("error", [SettingsError("k", "v", "r"), ZeroDivisionError()])
def test_bugs_and_settings_are_left_to_others(settings: Settings, error: Exception) -> None:
    """Wrong settings are told in one place for all commands, and a bug of ours is not hidden."""

    def failing(_args: Namespace, _settings: Settings, _now_ms: object) -> int:
        raise error

    with pytest.raises(type(error)):
        commands._guarded(failing)(Namespace(), settings)


def test_options_of_emit_are_those_that_are_built() -> None:
    """Each option of `emit llm` has its place on the wire, and each carrier its choice."""
    args = vars(parse("emit", "llm"))

    assert set(LLM_OPTIONS) <= args.keys()
    assert {option.replace("-", "_") for option in commands._LLM_OPTIONS} == set(LLM_OPTIONS)
    for carrier in CARRIERS:
        assert parse("emit", "--via", carrier, "event", "x").via == carrier


def test_tail_is_another_name_for_traces() -> None:
    """`tail -f` is what people type."""
    args = parse("tail", "-f")

    assert (args.follow, args.perform) == (True, args.perform)
    assert vars(args).keys() == vars(parse("traces")).keys()


def test_building_the_parser_loads_nothing_heavy(tmp_path: Path) -> None:
    """Neither tables nor HTTP nor the event loop are imported until a command needs them."""
    script = (
        "import argparse, sys\n"
        "from trace_agent.views.commands import add_parsers\n"
        "add_parsers(argparse.ArgumentParser().add_subparsers())\n"
        "print(sorted({'rich', 'trio', 'http.client', 'sqlite3', 'cbor2', 'psutil'} & sys.modules.keys()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=dict(os.environ)
    )

    assert done.stdout == "[]\n"


def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    """`--help` works for each command, and for each type of `emit`."""
    names = ("status", "traces", "events", "errors", "metrics", "export", "emit", "doctor")
    for words in (
        *((name,) for name in names),
        *(("emit", kind) for kind in ("llm", "event", "error", "metric")),
    ):
        with pytest.raises(SystemExit) as stopped:
            parse(*words, "--help")

        assert stopped.value.code == 0
        assert "usage: trace-agent" in capsys.readouterr().out
