"""The command lines of `costs` and `prices`."""

import subprocess
import sys

import pytest

from tests.views.commanding import parse
from trace_agent.views.params import COST_PARAMETERS, LLM


def test_costs_takes_what_http_takes() -> None:
    """Each parameter of `/v1/costs` is an option of the same name."""
    words = [word for name in COST_PARAMETERS for word in (f"--{name}", f"value of {name}")]
    args = parse("costs", *words, "--json")

    assert {name: getattr(args, name) for name in COST_PARAMETERS} == {
        name: f"value of {name}" for name in COST_PARAMETERS
    }
    assert args.json is True


def test_options_of_missing_are_those_of_listings() -> None:
    """No option is read by the listing's code as something else."""
    args = parse("prices", "missing", "--since", "1h")

    assert (args.since, args.until, args.limit, args.json) == ("1h", None, None, False)
    assert {*vars(args)} - {"perform", "action", "json"} <= {*LLM.parameters}


@pytest.mark.parametrize(
    "words",
    [
        ("prices",),
        ("prices", "show"),
        ("prices", "explain"),
        ("prices", "refresh"),
        ("prices", "other"),
        ("costs", "x"),
    ],
)
def test_wrong_words_are_refused(capsys: pytest.CaptureFixture[str], words: tuple[str, ...]) -> None:
    """What is missing or too much is exit code 2, with the usage."""
    with pytest.raises(SystemExit) as caught:
        parse(*words)

    assert caught.value.code == 2
    assert "usage: trace-agent" in capsys.readouterr().err


def test_the_agent_pays_nothing_for_the_commands() -> None:
    """Neither the API nor the parsers load what only these commands need when they run."""
    loaded = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, trace_agent.views.api, trace_agent.views.cost_commands; print(*sys.modules)",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()

    assert "trace_agent.views.costs" in loaded
    assert not {"rich", "decimal", "trace_agent.store.price_table", "trace_agent.views.costs_report",
                "trace_agent.views.price_facts", "trace_agent.views.prices_report"} & {*loaded}  # fmt: skip
