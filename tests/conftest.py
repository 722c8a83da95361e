"""Fixtures for all tests: settings in a directory of their own, and Node where it is installed.

How tests are written here:

- Nothing sleeps. trio tests take `autojump_clock` where time matters (never with a thread under it), and
  real programs are awaited by what they say, not by time.
- SQLite is real, in `tmp_path`; sockets are real, on port 0; fakes are small and fed raw bytes.
- A nursery that fails raises a group: `with pytest.RaisesGroup(KeyError): ..`.
"""

import shutil
from pathlib import Path

import hypothesis
import pytest

from trace_agent.core.settings import MachineFacts, Settings, load

# A busy machine makes any single example slow; hanging tests are ended by pytest-timeout.
hypothesis.settings.register_profile("trace-agent", deadline=None)
hypothesis.settings.load_profile("trace-agent")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings that keep every file in `tmp_path`, leave ports to the system and watch nothing."""
    facts = MachineFacts(
        uid=1000,
        home=str(tmp_path),
        xdg_runtime_dir=str(tmp_path),
        xdg_state_home=str(tmp_path),
        data_writable=False,
        openclaw_home_exists=False,
    )
    return load({"TRACE_AGENT_LISTEN": "127.0.0.1:0", "TRACE_AGENT_WATCH": ""}, [], facts)


@pytest.fixture(scope="session")
def node() -> str:
    """Return the path of Node, for tests of clients that run on it; they are skipped where it is missing."""
    program = shutil.which("node")
    if program is None:
        pytest.skip("Node is not installed: this test drives a client that runs on Node 20 or newer")
    return program
