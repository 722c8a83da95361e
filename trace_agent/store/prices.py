"""Price calls: names, time and tokens of a call in, its `Cost` out.

The user's own prices go before the list's, and a server on the user's own machine charges nothing. What
was found for the names of late is kept, so that an agent's few models cost a dictionary look-up each.
Used by one thread, the writer's or a command's.
"""

import tomllib
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from attrs import frozen

from trace_agent.core.errors import SettingsError
from trace_agent.core.events import Tokens
from trace_agent.core.model_names import is_forwarded, is_free, is_local
from trace_agent.core.price_overrides import NO_OVERRIDES, Overrides, read_overrides
from trace_agent.core.price_plan import FREE, Context, Plan, Rates, rates_at
from trace_agent.core.pricing import Basis, Cost, Line, cost_nusd, explain, prompt_tokens
from trace_agent.store.price_list import SHIPPED, PriceList

__all__ = ["LOCAL", "UNPRICED", "Call", "Found", "Prices", "load_overrides"]

# Names of models come from outside and may be many; a plan takes about 1 kB.
_KEPT: Final = 128

UNPRICED: Final = Cost(None, Basis.UNKNOWN, None)
LOCAL: Final = Cost(0, Basis.LOCAL, None)


@frozen
class Call:
    """What says which prices a call has.

    Attributes:
        model: what the agent asked for.
        response_model: what answered.
        ts_ms: when, Unix milliseconds.
    """

    provider: str | None
    model: str | None
    response_model: str | None
    ts_ms: float


@frozen
class Found:
    """What a name turned out to be.

    Attributes:
        provider: the list's name for the provider, None for an override or a local server.
        model: the list's, or the user's, name for the model.
        plan: its prices, None where there are none for tokens.
    """

    provider: str | None
    model: str
    plan: Plan | None
    basis: Basis
    version: str | None


class Prices:
    """The price table, with the user's own prices before it.

    Args:
        path: a table that `price_table.build` made.
        overrides: from the user's `prices_file`.

    Attributes:
        version: of the table's prices.

    Raises:
        StoreError: `path` is no such table, or one of another format.
    """

    def __init__(self, path: Path = SHIPPED, overrides: Overrides = NO_OVERRIDES) -> None:
        self._overrides = overrides
        self._list = PriceList(path)
        self.version = self._list.version
        self._names = lru_cache(_KEPT)(self._find)

    def close(self) -> None:
        """Close the table."""
        self._list.close()

    def forget(self) -> None:
        """Forget what names were found to mean, so that the next call is looked up in the table."""
        self._names.cache_clear()
        self._list.forget()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def cost(self, call: Call, tokens: Tokens | None, context: Context | None = None) -> Cost:
        """Return what a call costs; its basis is never `reported`, which is for the caller to say.

        Args:
            call: its names and time.
            tokens: its buckets, None if they were not told.
            context: how it was served, from `pricing.context_of`.
        """
        found = self.find(call)
        if found is None or found.plan is None:
            return UNPRICED
        if found.basis is Basis.LOCAL:
            return LOCAL
        if tokens is None:
            return UNPRICED
        nusd = cost_nusd(tokens, self._rates(found, call, tokens, context))
        return UNPRICED if nusd is None else Cost(nusd, found.basis, found.version)

    def explain(self, call: Call, tokens: Tokens, context: Context | None = None) -> tuple[Line, ...]:
        """Return the lines that add up to `cost`, empty where there is no price."""
        found = self.find(call)
        if found is None or found.plan is None:
            return ()
        return explain(tokens, self._rates(found, call, tokens, context))

    def find(self, call: Call) -> Found | None:
        """Return the prices that the names of a call stand for at its time, or None."""
        own, listed = self._names(call.provider, call.model, call.response_model)
        if own is not None and own.plan is not None and any(p.holds(call.ts_ms) for p in own.plan.periods):
            return own
        return listed

    @staticmethod
    def _rates(found: Found, call: Call, tokens: Tokens, context: Context | None) -> Rates:
        assert found.plan is not None
        return rates_at(found.plan, call.ts_ms, prompt_tokens(tokens), context)

    def _find(
        self, provider: str | None, model: str | None, response_model: str | None
    ) -> tuple[Found | None, Found | None]:
        """Return the user's prices for names, and the list's."""
        # What answered is what is billed; but a router answers `:free` models without saying so again.
        asked_first = model is not None and is_free(model)
        names = (model, response_model) if asked_first else (response_model, model)
        calls = [self._meant(provider, name) for name in names if name] or [(provider, "")]
        own = listed = None
        for sender, name in calls:
            plan = self._overrides.find(sender, name)
            if plan is not None:
                own = Found(None, name, plan, Basis.OVERRIDE, self._overrides.version)
                break
        if any(is_local(*call) for call in calls) and not any(is_forwarded(name) for _, name in calls):
            return own, Found(None, calls[0][1], FREE, Basis.LOCAL, None)
        for sender, name in calls:
            listed = self._list.find(sender, name)
            if listed is not None:
                break
        if listed is None:
            return own, None
        return own, Found(listed.provider, listed.model, listed.plan, Basis.LIST, self.version)

    def _meant(self, provider: str | None, name: str) -> tuple[str | None, str]:
        alias = self._overrides.alias_of(provider, name)
        # An alias names the provider too, or leaves it to the model's name.
        return (provider, name) if alias is None else (None, alias)


def load_overrides(path: Path) -> Overrides:
    """Read the user's `prices_file`.

    Raises:
        SettingsError: it cannot be read, or holds what cannot be used.
    """
    try:
        with path.open("rb") as file:
            # Decimal text keeps prices exact.
            document = tomllib.load(file, parse_float=str)
    except OSError as exc:
        raise SettingsError("prices_file", str(path), f"a file that can be read: {exc.strerror}") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise SettingsError("prices_file", str(path), f"TOML: {exc}") from exc
    return read_overrides(document)
