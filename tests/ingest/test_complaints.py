"""The log says what goes wrong, not how often, and never in the words of a stranger."""

import logging

import pytest

from trace_agent.core.counts import Carrier
from trace_agent.core.errors import Reason
from trace_agent.ingest.complaints import Complaints


class FakeTime:
    """A wall clock that is set by hand."""

    ms = 1_790_000_000_000

    def __call__(self) -> int:
        """Return Unix milliseconds."""
        return self.ms


def test_once_a_minute_per_kind(caplog: pytest.LogCaptureFixture) -> None:
    """A kind of trouble is logged, then only again when a minute has passed; other kinds have their own."""
    now_ms = FakeTime()
    complaints = Complaints(now_ms)
    for step_ms in (0, 59_999, 1):
        now_ms.ms += step_ms
        complaints.note(Carrier.UDP, Reason.BAD_JSON, 7)
    complaints.note(Carrier.UNIX, Reason.BAD_JSON, 8)
    complaints.note(Carrier.UDP, Reason.EMPTY, 0)

    said = [record.getMessage().partition(";")[0] for record in caplog.records]
    assert said == [
        "udp: bad_json (7 bytes)",
        "udp: bad_json (7 bytes)",
        "unix: bad_json (8 bytes)",
        "udp: empty (0 bytes)",
    ]


def test_clock_set_back(caplog: pytest.LogCaptureFixture) -> None:
    """A clock that was set back does not silence the log until it has caught up."""
    now_ms = FakeTime()
    complaints = Complaints(now_ms)
    complaints.note(Carrier.UDP, Reason.EMPTY, 0)
    now_ms.ms -= 3_600_000
    complaints.note(Carrier.UDP, Reason.EMPTY, 0)

    assert len(caplog.records) == 2


def test_bug_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    """A bug is logged with its place, without the exception's message, and once a minute too."""
    complaints = Complaints(FakeTime())
    for _ in range(2):
        try:
            {"": 0}["\x1b[31mpayload"]
        except KeyError as error:
            complaints.bug(Carrier.HTTP, error)

    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "http: a bug of trace-agent" in record.getMessage()
    assert "KeyError" in record.getMessage()
    assert "test_complaints.py" in record.getMessage()
    assert "\x1b" not in record.getMessage()
    assert record.exc_info is None
