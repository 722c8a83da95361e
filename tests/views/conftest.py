"""Fixtures of the read side: a database to fill, and settings that name it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import evolve

from tests.views.building import StoreBuilder
from trace_agent.core.settings import Settings


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StoreBuilder]:
    """An empty database of ours, to be filled by the test."""
    builder = StoreBuilder(tmp_path / "traces.db")
    yield builder
    builder.connection.close()


@pytest.fixture
def own_settings(settings: Settings, store: StoreBuilder) -> Settings:
    """Settings whose database is the one of `store`."""
    return evolve(settings, db=str(store.path))


@pytest.fixture(autouse=True)
def plain_surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the machine's own settings or terminal reaches the output under test."""
    for name in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
