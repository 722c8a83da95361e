"""Say in the log what peers do wrong, at most once a minute per kind: counts tell how often.

Payload bytes never reach the log: escape sequences and newlines of strangers would come with them.
"""

import logging
from collections.abc import Callable
from typing import Final

from trace_agent.core.counts import Carrier
from trace_agent.core.errors import Reason

__all__ = ["Complaints"]

log = logging.getLogger(__name__)

_QUIET_MS: Final = 60_000


class Complaints:
    """Remembers when each kind of trouble was last spoken of; kinds are a closed set."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._spoken_ms: dict[tuple[Carrier, Reason], int] = {}

    def note(self, carrier: Carrier, reason: Reason, size_bytes: int) -> None:
        """Log a refusal or loss unless its kind was logged within the last minute."""
        now_ms = self._now_ms()
        kind = (carrier, reason)
        last_ms = self._spoken_ms.get(kind)
        # A clock set back must not silence us until it has caught up.
        if last_ms is not None and 0 <= now_ms - last_ms < _QUIET_MS:
            return
        self._spoken_ms[kind] = now_ms
        log.warning(
            "%s: %s (%d bytes); further ones of this kind are only counted for a minute",
            carrier,
            reason,
            size_bytes,
        )
