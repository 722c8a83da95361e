"""Fixtures for clients that nobody here wrote."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.running import RunningAgent, running_agent


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[RunningAgent]:
    """Run a trace-agent for one test."""
    with running_agent(tmp_path) as started:
        yield started
