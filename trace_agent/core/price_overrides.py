"""Read the user's own prices: a parsed `prices_file` in, `Overrides` that know a call's prices out.

::

    [[price]]
    model = "claude-sonnet-4-5"     # as the agent sends it, or shorter (no date, no path); * matches anything
    provider = "my-gateway"         # optional: only for calls by this provider
    aliases = ["team-sonnet"]       # optional: other names of the same model
    effective_from = 2026-01-01     # optional: a date (midnight UTC) or a date with time
    input = 2.70                    # USD per million tokens; input or output at least
    output = 13.50
    cache_read = 0.27               # what is left out costs what it is part of: cache tokens as input,
    cache_write = 3.375             # an hour's write as a write, reasoning as output
    cache_write_1h = 5.40
    reasoning = 13.50
    per_call = 0.001                # optional: USD for each call, beside its tokens

    [[price.above]]                 # optional: other prices for all tokens of a larger request
    tokens = 200000                 # .. of more prompt tokens than this, cached ones included
    input = 5.40
    output = 20.25

    [aliases]                       # a name of the agent's for a name of the price list
    "prod-chat" = "azure/gpt-4o"

The last `[[price]]` that fits a call, and was in effect when it was made, wins; calls that none fits are
priced by the list.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time
from typing import Final, TypeAlias, cast

from attrs import Factory, frozen

from trace_agent.core.errors import SettingsError
from trace_agent.core.model_names import spellings
from trace_agent.core.price_plan import Level, Period, Plan, Rates, ausd_of

__all__ = ["NO_OVERRIDES", "Overrides", "read_overrides"]

_Map: TypeAlias = Mapping[str, object]

_BUCKETS: Final = ("input", "cache_read", "cache_write", "cache_write_1h", "output", "reasoning")
_PRICE_KEYS: Final = (*_BUCKETS, "per_call")
_ENTRY_KEYS: Final = ("model", "provider", "aliases", "effective_from", "above", *_PRICE_KEYS)
# A price above this, in USD per million, is one in another unit.
_PRICE_LIMIT_AUSD: Final = 10**5 * 10**18
_CALLS_PER_MILLION: Final = 1_000_000


@frozen
class _Entry:
    """One `[[price]]`.

    Attributes:
        names: patterns of the model, `/` and provider before it or not.
        provider: pattern of the provider, or None: any.
    """

    names: tuple[re.Pattern[str], ...]
    provider: re.Pattern[str] | None
    period: Period


@frozen
class Overrides:
    """The user's own prices and aliases.

    Attributes:
        version: changes with the content; kept with each call so priced.
        aliases: names in lower case, to the names that the list or another price knows.
    """

    version: str | None = None
    entries: tuple[_Entry, ...] = ()
    aliases: Mapping[str, str] = Factory(dict)

    def alias_of(self, provider: str | None, model: str) -> str | None:
        """Return the name that stands for this one in the price list, or None."""
        if not self.aliases:
            return None
        name = model.strip().lower()
        whole = None if provider is None else self.aliases.get(f"{provider.strip().lower()}/{name}")
        return whole or self.aliases.get(name)

    def find(self, provider: str | None, model: str) -> Plan | None:
        """Return all prices that fit a model, in the order of the file, or None.

        A plan of these may hold at no time yet: ask its periods.
        """
        if not self.entries:
            return None
        sender = None if provider is None else provider.strip().lower()
        names = set(spellings(model))
        if sender is not None:
            names |= {f"{sender}/{name}" for name in names}
        periods = tuple(
            entry.period
            for entry in self.entries
            if (entry.provider is None or (sender is not None and entry.provider.fullmatch(sender)))
            and any(pattern.fullmatch(name) for pattern in entry.names for name in names)
        )
        return Plan(periods) if periods else None


NO_OVERRIDES: Final = Overrides()


def read_overrides(document: Mapping[str, object]) -> Overrides:
    """Return the prices of a parsed TOML document.

    Args:
        document: floats may be decimal text (`tomllib.load(file, parse_float=str)`), which is exact.

    Raises:
        SettingsError: a key is unknown or a value cannot be used.
    """
    _known("", document, ("price", "aliases"))
    entries = [_entry(f"price[{place}]", entry) for place, entry in _tables("price", document.get("price"))]
    aliases: dict[str, str] = {}
    given = document.get("aliases", {})
    if not isinstance(given, dict):
        raise _bad("aliases", given, 'a table of "name" = "name in the price list"')
    for name, target in cast("dict[str, object]", given).items():
        if not isinstance(target, str) or not target.strip():
            raise _bad(f'aliases."{name}"', target, 'a name in the price list, "gpt-4o" or "azure/gpt-4o"')
        aliases[name.strip().lower()] = target.strip()
    if not entries and not aliases:
        return NO_OVERRIDES
    digest = hashlib.sha256(json.dumps(document, sort_keys=True, default=str).encode()).hexdigest()
    return Overrides(f"override-{digest[:12]}", tuple(entries), aliases)


def _entry(key: str, entry: _Map) -> _Entry:
    _known(f"{key}.", entry, _ENTRY_KEYS)
    model = entry.get("model")
    if not isinstance(model, str) or not model.strip():
        raise _bad(f"{key}.model", model, 'the name of a model, "claude-sonnet-4-5" or "claude-*"')
    aliases = entry.get("aliases", [])
    if not isinstance(aliases, list) or not all(isinstance(name, str) and name.strip() for name in aliases):
        raise _bad(f"{key}.aliases", aliases, 'a list of names, ["team-sonnet"]')
    provider = entry.get("provider")
    if provider is not None and (not isinstance(provider, str) or not provider.strip()):
        raise _bad(f"{key}.provider", provider, 'the name of a provider, "my-gateway"')
    base = _prices(key, entry)
    if "input" not in base and "output" not in base:
        raise _bad(f"{key}.input", None, "input, output or both, in USD per million tokens")
    levels = [Level(-1, Rates(**base))]
    for place, above in _tables(f"{key}.above", entry.get("above")):
        _known(f"{key}.above[{place}].", above, ("tokens", *_PRICE_KEYS))
        tokens = above.get("tokens")
        if not isinstance(tokens, int) or isinstance(tokens, bool) or tokens <= levels[-1].above:
            raise _bad(
                f"{key}.above[{place}].tokens", tokens, "a number of tokens, larger than the one before"
            )
        # What it does not name stays as it was.
        base = base | _prices(f"{key}.above[{place}]", above)
        levels.append(Level(tokens, Rates(**base)))
    return _Entry(
        names=tuple(_pattern(name) for name in (model, *cast("list[str]", aliases))),
        provider=None if provider is None else _pattern(provider),
        period=Period(tuple(levels), _effective_ms(f"{key}.effective_from", entry.get("effective_from"))),
    )


def _prices(key: str, entry: _Map) -> dict[str, int]:
    prices = {}
    for name in _PRICE_KEYS:
        if name in entry:
            ausd = ausd_of(entry[name])
            if ausd is None or ausd > _PRICE_LIMIT_AUSD:
                unit = "each call" if name == "per_call" else "a million tokens"
                raise _bad(
                    f"{key}.{name}", entry[name], f"the price of {unit} in USD, such as 0.27; 0 is free"
                )
            if name == "per_call":
                prices["request"] = ausd * _CALLS_PER_MILLION
            else:
                prices[name] = ausd
    return prices


def _effective_ms(key: str, value: object) -> int | None:
    if value is None:
        return None
    moment = value
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            moment = None
    if isinstance(moment, date) and not isinstance(moment, datetime):
        moment = datetime.combine(moment, time())
    if not isinstance(moment, datetime):
        raise _bad(key, value, "a date such as 2026-01-31, without quotes")
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1000)


def _tables(key: str, value: object) -> Iterable[tuple[int, _Map]]:
    """Return the tables of an array of tables, numbered from 1 as people count."""
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise _bad(key, value, f"an array of tables, [[{re.sub(r'[^a-z.]', '', key)}]]")
    return enumerate(cast("list[_Map]", value), start=1)


def _known(prefix: str, table: _Map, keys: tuple[str, ...]) -> None:
    for name in table:
        if name not in keys:
            raise _bad(f"{prefix}{name}", table[name], f"unknown key; known are {', '.join(keys)}")


def _pattern(name: str) -> re.Pattern[str]:
    """Return the pattern of a name in which `*` matches anything."""
    return re.compile(".*".join(map(re.escape, name.strip().lower().split("*"))), re.DOTALL)


def _bad(key: str, value: object, remedy: str) -> SettingsError:
    return SettingsError(f"prices_file: {key}", "missing" if value is None else str(value)[:80], remedy)
