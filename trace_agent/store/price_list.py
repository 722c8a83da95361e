"""Find a model in the price table: names as agents write them in, the model of the list and its plan out.

The table (see `price_table`) stays on disk and is asked by SQL. Names are tried in this order, until one
is known; each in its spellings (`core.model_names`), and as the provider that the model is bought from:

1. the provider that the call names: `openrouter` and `anthropic/claude-sonnet-4.5`;
2. a provider that stands before the model: `openai`, as the SDK calls it, and `anthropic/claude-..`;
3. the maker, where the model's name alone says who charges for it.
"""

import json
import re
import sqlite3
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Final, TypeAlias

from attrs import frozen

from trace_agent.core.errors import StoreError
from trace_agent.core.model_names import (
    CLOSED_VENDORS,
    FLAT_RATE,
    LABELS,
    is_free,
    open_weights,
    prefixes,
    provider_names,
    spellings,
)
from trace_agent.core.price_plan import FREE, Plan, read_plan

__all__ = ["APPLICATION_ID", "FORMAT", "SHIPPED", "Listed", "PriceList"]

# "trAp", beside the "trAg" of the agent's own database.
APPLICATION_ID: Final = 0x74724170
# `PRAGMA user_version` of the tables that this module reads.
FORMAT: Final = 1
SHIPPED: Final = Path(__file__).parent.parent / "data" / "prices.sqlite"

# Providers are named by senders, so there may be any number.
_PROVIDERS_KEPT: Final = 64

_BY_NAME: Final = """
SELECT models.name, plans.prices, plans.variants
FROM model_names JOIN models ON models.id = model_names.model LEFT JOIN plans ON plans.id = models.plan
WHERE model_names.provider = ?1 AND model_names.name = ?2
"""
_BY_PATTERN: Final = """
SELECT models.name, plans.prices, plans.variants
FROM model_matches JOIN models ON models.id = model_matches.model LEFT JOIN plans ON plans.id = models.plan
WHERE model_matches.provider = ?1 AND ?2 GLOB glob AND (regexp IS NULL OR ?2 REGEXP regexp)
ORDER BY rank LIMIT 1
"""
# `?1` is the subject that the other query needs.
_PROVIDER_BY_NAME: Final = "SELECT id, name, fallbacks FROM providers WHERE name = ?2 AND ?1 = 'name'"
_PROVIDER_BY_PATTERN: Final = """
SELECT id, name, fallbacks
FROM provider_matches JOIN providers ON providers.id = provider_matches.provider
WHERE subject = ?1 AND ?2 GLOB glob AND (regexp IS NULL OR ?2 REGEXP regexp)
ORDER BY rank LIMIT 1
"""

_Row: TypeAlias = tuple[str, str | None, str | None]


@frozen
class Listed:
    """A model of the list.

    Attributes:
        provider: the list's name for who sells it, None for a router's free model that the list lacks.
        model: the list's name for the model.
        plan: its prices, None where there are none for tokens.
    """

    provider: str | None
    model: str
    plan: Plan | None


@frozen
class _Provider:
    id: int
    name: str
    fallbacks: tuple[int, ...]


class PriceList:
    """An open price table, for one thread.

    Args:
        path: a table that `price_table.build` made.

    Attributes:
        version: of its prices.

    Raises:
        StoreError: `path` is no such table, or one of another format.
    """

    def __init__(self, path: Path) -> None:
        self._connection, self.version = _open(path)
        self._provider = lru_cache(_PROVIDERS_KEPT)(self._find_provider)

    def close(self) -> None:
        """Close the table."""
        self._connection.close()

    def forget(self) -> None:
        """Forget what names of providers were found to mean."""
        self._provider.cache_clear()

    def find(self, provider: str | None, model: str) -> Listed | None:
        """Return the model that names stand for, or None."""
        own = None if provider is None else self._provider(provider)
        if own is not None:
            for name in _tried(model):
                found = self._find_model(own, name)
                if found is not None:
                    return found
            if own.name in FLAT_RATE:
                return None
        if is_free(model) and "/" in model:
            # Only routers name models so, and their lists change by the day.
            return Listed(None if own is None else own.name, model, FREE)
        for head, rest in prefixes(model):
            named = self._provider(head)
            if named is None:
                continue
            for name in spellings(rest):
                found = self._find_model(named, name)
                # What its maker gives away others may charge for.
                if found is not None and found.plan != FREE:
                    return found
        return self._find_by_vendor(provider, own, model)

    def _find_by_vendor(self, provider: str | None, own: _Provider | None, model: str) -> Listed | None:
        """Find a model by its name alone, where the name is enough to know who made it and who charges."""
        trusted = provider is None or (own is not None and own.name in LABELS)
        for name in _tried(model):
            row = self._connection.execute(_PROVIDER_BY_PATTERN, ("model", name)).fetchone()
            if row is None:
                continue
            vendor = _provider_of(row)
            found = None
            if vendor.name in CLOSED_VENDORS and not open_weights(name):
                found = self._find_model(vendor, name)
            elif trusted and "/" not in model:
                # Anybody may serve open weights, under names that begin like their maker's: the whole must
                # fit.
                found = self._found(vendor, _BY_NAME, vendor.id, name)
            if found is not None and found.plan != FREE:
                return found
        return None

    def _find_model(self, provider: _Provider, name: str) -> Listed | None:
        for place in (provider.id, *provider.fallbacks):
            for query in (_BY_NAME, _BY_PATTERN):
                found = self._found(provider, query, place, name)
                if found is not None:
                    return found
        return None

    def _found(self, provider: _Provider, query: str, place: int, name: str) -> Listed | None:
        row: _Row | None = self._connection.execute(query, (place, name)).fetchone()
        if row is None:
            return None
        model, prices, variants = row
        if place != provider.id:
            # Who sells on another's models need not have its batches and tiers.
            variants = None
        plan = None if prices is None else read_plan(prices, variants)
        return Listed(provider.name, model, plan)

    def _find_provider(self, provider: str) -> _Provider | None:
        for query, subject in ((_PROVIDER_BY_NAME, "name"), (_PROVIDER_BY_PATTERN, "provider")):
            for name in provider_names(provider):
                row = self._connection.execute(query, (subject, name)).fetchone()
                if row is not None:
                    return _provider_of(row)
        return None


def _open(path: Path) -> tuple[sqlite3.Connection, str]:
    """Return a connection to a price table and its version."""
    try:
        # Nobody writes to it while it is open: a new one is put in its place as a whole.
        # One thread at a time uses it, though not always the same one: trio lends out its threads.
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False
        )
    except sqlite3.Error as exc:
        raise StoreError(f"{path} cannot be opened: {exc}") from exc
    try:
        (marker,) = connection.execute("PRAGMA application_id").fetchone()
        (made,) = connection.execute("PRAGMA user_version").fetchone()
        row = None
        if (marker, made) == (APPLICATION_ID, FORMAT):
            connection.execute("PRAGMA cache_size = -64")
            connection.create_function("regexp", 2, _regexp, deterministic=True)
            row = connection.execute("SELECT value FROM about WHERE key = 'version'").fetchone()
    except sqlite3.Error as exc:
        connection.close()
        raise StoreError(f"{path} cannot be read as a price table: {exc}") from exc
    if row is None:
        connection.close()
        raise StoreError(
            f"{path} is no price table of format {FORMAT}: make one with trace-agent prices build"
        )
    return connection, row[0]


def _tried(model: str) -> Iterator[str]:
    # `:free` is never cut off: what is left is the name of the same model for money.
    return islice(spellings(model), 1 if is_free(model) else None)


def _provider_of(row: tuple[int, str, str]) -> _Provider:
    number, name, fallbacks = row
    return _Provider(number, name, tuple(json.loads(fallbacks)) if fallbacks != "[]" else ())


def _regexp(pattern: str, name: str) -> bool:
    return re.search(pattern, name) is not None
