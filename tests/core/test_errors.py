"""Errors say what a caller needs: a reason to count, a sentence for the sender, a remedy for the user."""

import re

import pytest

from trace_agent.core.errors import (
    EventError,
    FrameError,
    NotOursError,
    PacketError,
    PeerError,
    Reason,
    SettingsError,
    StoreError,
    TraceAgentError,
)


@pytest.mark.parametrize("kind", [PeerError, PacketError, FrameError, EventError])
def test_peer_errors(kind: type[PeerError]) -> None:
    """What a peer did wrong has a reason, and reads as a sentence where there is one."""
    bare = kind(Reason.EMPTY)
    detailed = kind(Reason.BAD_FIELD, "id must be text")

    assert (bare.reason, bare.detail, str(bare)) == (Reason.EMPTY, "", "empty")
    assert (detailed.reason, str(detailed)) == (Reason.BAD_FIELD, "bad_field: id must be text")


def test_frame_error() -> None:
    """A stream that breaks off gives what came before."""
    assert list(FrameError(Reason.TOO_LARGE, "too long", [b"a"]).packets) == [b"a"]
    assert list(FrameError(Reason.TOO_LARGE).packets) == []


def test_settings_error() -> None:
    """A wrong setting names the key, the value and what would be valid."""
    error = SettingsError("ring_mb", "many", "must be a whole number")

    assert (error.key, error.value, error.remedy) == ("ring_mb", "many", "must be a whole number")
    assert str(error) == "ring_mb = many: must be a whole number"


def test_tree() -> None:
    """What callers catch: peers' faults apart from users', a foreign file as a store that cannot be used."""
    assert issubclass(NotOursError, StoreError)
    assert all(issubclass(kind, TraceAgentError) for kind in (PeerError, SettingsError, StoreError))
    assert not issubclass(SettingsError, PeerError)


def test_reasons_are_labels() -> None:
    """Every reason can be a label value of Prometheus as it is, and none comes twice."""
    assert all(re.fullmatch("[a-z_]+", reason) for reason in Reason)
    assert len({*Reason}) == len(Reason.__members__)
