"""Make events fit to be stored: accepted events in, the same without secrets, shortened, and priced, out.

Runs in the writer's thread, since regular expressions and look-ups take time that the event loop has not.
"""

import logging
import sqlite3
from typing import Final

from attrs import evolve, frozen

from trace_agent.core.events import Event, Failure, Llm
from trace_agent.core.pricing import Cost, context_of
from trace_agent.core.redact import Redactor
from trace_agent.core.settings import TextPolicy
from trace_agent.core.shorten import shorten
from trace_agent.store.prices import UNPRICED, Call, Prices

__all__ = ["AS_IT_CAME", "Preparation", "Stored"]

log = logging.getLogger(__name__)

Stored = Llm | Event | Failure

# What SQLite's integers hold: 9.2 thousand million dollars.
_NUSD_LIMIT: Final = 2**63


@frozen
class Preparation:
    """What the settings say about words and prices.

    Attributes:
        redactor: masks secrets; None leaves them.
        text: what is kept of the words of calls.
        limit_bytes: of `input` and of `output`, each.
        prices: None prices nothing.
    """

    redactor: Redactor | None = None
    text: TextPolicy = TextPolicy.FULL
    limit_bytes: int = 2**31
    prices: Prices | None = None

    def close(self) -> None:
        """Close the price table."""
        if self.prices is not None:
            self.prices.close()

    def prepare(self, event: Stored) -> Stored:
        """Return an event as it may be stored; doing it again changes nothing."""
        # Before anything is cut: half a secret would not be known for one.
        if self.redactor is not None:
            event = self.redactor.redact_event(event)
        if isinstance(event, Llm):
            words = shorten(event.input, self.text, self.limit_bytes)
            answer = shorten(event.output, self.text, self.limit_bytes)
            if words is not event.input or answer is not event.output:
                event = evolve(event, input=words, output=answer)
        return event

    def cost(self, call: Llm) -> Cost:
        """Return what a call costs by our own reckoning, whatever its sender says."""
        if self.prices is None:
            return UNPRICED
        names = Call(call.provider, call.model, call.response_model, call.ts_ms)
        try:
            cost = self.prices.cost(names, call.tokens, context_of(call.usage, call.attributes))
        except sqlite3.Error as error:
            # Let out, it would be taken for damage of the database that is being written.
            log.error("the price table cannot be read, the call has no price: %s", error)  # noqa: TRY400
            return UNPRICED
        # Token counts that a sender made up must not cost the call its row.
        return cost if cost.nusd is None or cost.nusd < _NUSD_LIMIT else UNPRICED


AS_IT_CAME: Final = Preparation()
