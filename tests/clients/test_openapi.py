"""The OpenAPI document and the running trace-agent say the same; schemathesis asks both."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.running import RunningAgent

# Says which checks do not apply where, each with its reason.
CONFIG = Path(__file__).with_name("schemathesis.toml")


@pytest.mark.slow
def test_answers_match_the_document(agent: RunningAgent, tmp_path: Path) -> None:
    """Whatever is asked, right or wrong, the answer is one that the served document describes."""
    agent.settle("http", 0)

    # Its command line, because its pytest plugin does not know this pytest.
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "run"),
            f"http://127.0.0.1:{agent.port}/openapi.json",
            *("--max-examples", "15", "--seed", "1", "--generation-deterministic", "--no-color"),
        ],
        cwd=tmp_path,  # it leaves a database of what it found
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout
    assert " 0 found" not in done.stdout
    assert "Tested: 0" not in done.stdout
    health = agent.get("/health")
    assert health["status"] == "ok"
