"""Fixtures of the ways in: a rig whose laws are checked after each test."""

from collections.abc import Iterator

import pytest

from tests.ingest.rig import Rig


@pytest.fixture
def rig() -> Iterator[Rig]:
    """Return a rig; whatever the test did to it, the laws hold after it and nothing leaks from the ring."""
    rig = Rig()
    yield rig
    assert rig.broken() == []
    rig.inbox.abandon()
    assert rig.broken() == []
    assert not any(rig.inbox.waiting.values())
    assert rig.budget.used_bytes == 0
