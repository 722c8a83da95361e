"""What can go wrong, one class per thing a caller does differently.

::

    TraceAgentError
    ├── PeerError          what a peer sent: counted by reason, never fatal
    │   ├── PacketError    the whole packet is unreadable
    │   ├── FrameError     the stream cannot be followed any further: close the connection
    │   └── EventError     one event is refused, its neighbours are kept
    ├── SettingsError      a user's setting: stops the start, exit code 2
    ├── ListenError        an address cannot be listened on: stops the start, exit code 2
    └── StoreError         the database cannot be used, exit code 3
        └── NotOursError   the file belongs to somebody else or to a newer trace-agent: never touched

Anything else that is raised is a bug of ours and ends the program.
"""

import enum
from collections.abc import Sequence

__all__ = [
    "EventError",
    "FrameError",
    "ListenError",
    "NotOursError",
    "PacketError",
    "PeerError",
    "Reason",
    "SettingsError",
    "StoreError",
    "TraceAgentError",
]


class Reason(enum.StrEnum):
    """Why something was refused or dropped: a closed set, because reasons become metric labels."""

    # the packet as a whole
    EMPTY = "empty"
    TOO_LARGE = "too_large"
    TRUNCATED = "truncated"
    BAD_JSON = "bad_json"
    BAD_CBOR = "bad_cbor"
    BAD_ENCODING = "bad_encoding"
    TRAILING_BYTES = "trailing_bytes"
    NOT_TEXT = "not_text"
    NOT_AN_EVENT = "not_an_event"
    # one event
    UNKNOWN_TYPE = "unknown_type"
    MISSING_FIELD = "missing_field"
    BAD_FIELD = "bad_field"
    TOO_DEEP = "too_deep"
    NOT_PLAIN_DATA = "not_plain_data"
    BAD_LINE = "bad_line"
    # one connection too many, of which nothing was read
    CROWDED = "crowded"
    # HTTP
    FORBIDDEN = "forbidden"
    UNAUTHORIZED = "unauthorized"
    MEDIA_TYPE = "media_type"
    SLOW = "slow"
    BAD_REQUEST = "bad_request"
    # dropped, though readable
    RING_FULL = "ring_full"
    SHUTDOWN = "shutdown"
    # a bug of ours that the packet brought to light
    INTERNAL = "internal_error"


class TraceAgentError(Exception):
    """Base of all errors that trace-agent raises on purpose."""


class PeerError(TraceAgentError):
    """A peer sent what we cannot use.

    Attributes:
        reason: what to count it under.
        detail: a sentence for the sender; names our fields and limits, never repeats the payload
            (escape sequences and newlines of strangers must not reach a log).
    """

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else str(reason))
        self.reason = reason
        self.detail = detail


class PacketError(PeerError):
    """Nothing in the packet can be read."""


class FrameError(PeerError):
    """A length prefix or line cannot be right, so no later frame can be found.

    Attributes:
        packets: whole packets that came before the damage in the same chunk; they are good.
    """

    def __init__(self, reason: Reason, detail: str = "", packets: Sequence[bytes] = ()) -> None:
        super().__init__(reason, detail)
        self.packets = packets


class EventError(PeerError):
    """One event cannot be read; those beside it can."""


class SettingsError(TraceAgentError):
    """A setting is unknown or has a value that cannot be used.

    Attributes:
        key: the setting as the user wrote it (environment variable or TOML key).
        value: its value, masked when it is a secret.
        remedy: what would be valid.
    """

    def __init__(self, key: str, value: str, remedy: str) -> None:
        super().__init__(f"{key} = {value}: {remedy}")
        self.key = key
        self.value = value
        self.remedy = remedy


class ListenError(TraceAgentError):
    """A socket cannot be bound; the message says by whom it is held and how to choose another."""


class StoreError(TraceAgentError):
    """The database cannot be opened or used."""


class NotOursError(StoreError):
    """The file was made by another program or by a newer trace-agent, and is left untouched."""
