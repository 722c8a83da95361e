"""Say in the log what goes wrong with peers, at most once a minute per kind: counts tell how often.

Payload bytes never reach the log: escape sequences and newlines of strangers would come with them.
"""

import logging
import traceback
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
        if self._is_news(carrier, reason):
            log.warning(
                "%s: %s (%d bytes); further ones of this kind are only counted for a minute",
                carrier,
                reason,
                size_bytes,
            )

    def bug(self, carrier: Carrier, error: Exception) -> None:
        """Log a bug of ours that a peer's bytes brought to light: what and where, unless one was just now.

        Without the exception's own words, which may repeat the bytes.
        """
        if self._is_news(carrier, Reason.INTERNAL):
            log.error(
                "%s: a bug of trace-agent, please report it: %s\n%s",
                carrier,
                type(error).__name__,
                "".join(traceback.format_tb(error.__traceback__)),
            )

    def _is_news(self, carrier: Carrier, reason: Reason) -> bool:
        now_ms = self._now_ms()
        kind = (carrier, reason)
        last_ms = self._spoken_ms.get(kind)
        # A clock set back must not silence us until it has caught up.
        if last_ms is not None and 0 <= now_ms - last_ms < _QUIET_MS:
            return False
        self._spoken_ms[kind] = now_ms
        return True
