"""Build the price table: genai-prices' data in, a small SQLite file that `price_list` asks out.

Run by `trace-agent prices build` and `prices refresh`, never by the agent: importing `genai_prices` takes
more memory than the whole agent. The same input gives the same bytes, by the same SQLite.

The tables, as `price_list` reads them:

- `about`: where the prices come from, their version, the licence of the data.
- `providers`, and `provider_matches`: which names of providers or models mean which provider, by rank.
- `model_names`: names that mean one model, already decided where several clauses would match.
- `model_matches`: patterns for the other names of a provider's models, by rank; the first that fits wins.
- `models`, each with one of the `plans`: all its prices, in the JSON of `core.price_plan.read_plan`.
"""

import hashlib
import json
import re
import sqlite3
from contextlib import suppress
from datetime import UTC, date, datetime, time
from importlib import metadata
from pathlib import Path
from typing import Final, TypeAlias, cast

from attrs import frozen

from trace_agent.core.errors import StoreError
from trace_agent.core.price_plan import AUSD_DIGITS, BUCKETS, ausd_of
from trace_agent.store.price_list import APPLICATION_ID, FORMAT
from trace_agent.store.price_patterns import patterns_of

__all__ = ["NOTICE", "Source", "build", "file_source", "installed_source"]

NOTICE: Final = """\
The prices in prices.sqlite were made from the data of genai-prices
(https://github.com/pydantic/genai-prices), which is distributed under this licence:

The MIT License (MIT)

Copyright (c) Pydantic Services Inc. 2025 to present

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
"""

_SCHEMA: Final = """
CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE providers (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    fallbacks TEXT NOT NULL  -- ids of providers whose models this one serves too, a JSON list
) STRICT;
CREATE TABLE provider_matches (
    subject TEXT NOT NULL,  -- whose name the pattern is for: provider, model
    rank INTEGER NOT NULL,
    glob TEXT NOT NULL,
    regexp TEXT,
    provider INTEGER NOT NULL,
    PRIMARY KEY (subject, rank)
) STRICT, WITHOUT ROWID;
CREATE TABLE plans (id INTEGER PRIMARY KEY, prices TEXT NOT NULL, variants TEXT) STRICT;
CREATE TABLE models (
    id INTEGER PRIMARY KEY,
    provider INTEGER NOT NULL,
    name TEXT NOT NULL,
    plan INTEGER  -- NULL: listed, but not with a price for tokens
) STRICT;
CREATE TABLE model_names (
    provider INTEGER NOT NULL,
    name TEXT NOT NULL,
    model INTEGER NOT NULL,
    PRIMARY KEY (provider, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE model_matches (
    provider INTEGER NOT NULL,
    rank INTEGER NOT NULL,
    glob TEXT NOT NULL,
    regexp TEXT,
    model INTEGER NOT NULL,
    PRIMARY KEY (provider, rank)
) STRICT, WITHOUT ROWID;
"""

_Map: TypeAlias = dict[str, object]
_Plan: TypeAlias = tuple[str, str | None]

# Their names for what is billed, and ours. Whatever else they price (searches, pages, sound, pictures) is
# not among the tokens we keep.
_BUCKETS: Final = {
    "input_mtok": "input",
    "cache_read_mtok": "cache_read",
    "cache_write_mtok": "cache_write",
    "cache_write_1h_mtok": "cache_write_1h",
    "output_mtok": "output",
    "output_reasoning_mtok": "reasoning",
    "requests_kcount": "request",
}
# An entry without any price is free if it says so; others are merely without a price.
_FREE: Final = re.compile(r":free$|free of charge|included in the subscription", re.IGNORECASE)
_FREE_PLAN: Final = ('{"digits":0,"periods":[{"levels":[[-1,0,null,null,null,0]]}]}', None)


@frozen
class Source:
    """A price list to build from.

    Attributes:
        providers: as genai-prices' `data.json` has them, decimals as text.
        version: what `price_version` of a call will say.
    """

    providers: list[dict[str, object]]
    version: str


def installed_source() -> Source:
    """Return the data of the installed genai-prices package.

    Raises:
        StoreError: it is not installed.
    """
    try:
        # Late: it is an extra, and big.
        from genai_prices.data import providers  # noqa: PLC0415

        version = metadata.version("genai-prices")
    except ImportError as exc:
        raise StoreError("genai-prices is not installed: pip install 'trace-agent[prices]'") from exc
    return Source([cast("_Map", _plain(provider)) for provider in providers], f"genai-prices-{version}")


def file_source(path: Path) -> Source:
    """Return the data of a `data.json` of genai-prices.

    Raises:
        StoreError: the file cannot be read or holds something else.
    """
    try:
        content = path.read_bytes()
        providers = json.loads(content, parse_float=str)
        named = all(isinstance(provider, dict) and provider["id"] for provider in providers)
    except (OSError, ValueError, TypeError, KeyError) as exc:
        raise StoreError(f"{path} cannot be read as a data.json of genai-prices: {exc!r}") from exc
    if not named or not providers:
        raise StoreError(f"{path} names no provider")
    digest = hashlib.sha256(content).hexdigest()
    return Source(cast("list[_Map]", providers), f"genai-prices-file-{digest[:12]}")


def build(source: Source, path: Path) -> int:
    """Write the price table of a source; an existing file is replaced in one step.

    Returns:
        How many models it holds.

    Raises:
        StoreError: the source has something that the table cannot hold, or the file cannot be written.
    """
    scratch = path.with_name(path.name + ".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch.unlink(missing_ok=True)
        connection = sqlite3.connect(scratch, isolation_level=None)
        try:
            connection.execute("PRAGMA page_size = 4096")
            connection.execute("PRAGMA journal_mode = OFF")
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {FORMAT}")
            connection.executescript(_SCHEMA)
            connection.execute("BEGIN")
            models = _fill(connection, source)
            connection.execute("COMMIT")
            connection.execute("VACUUM")
        finally:
            connection.close()
        scratch.replace(path)
    except (KeyError, TypeError, ValueError, AttributeError, re.error) as exc:
        raise StoreError(f"{source.version} is not shaped like genai-prices' data: {exc!r}") from exc
    except (OSError, sqlite3.Error) as exc:
        raise StoreError(f"{path} cannot be written: {exc}") from exc
    finally:
        # It may be gone, or its folder may never have been there.
        with suppress(OSError):
            scratch.unlink()
    return models


def _fill(connection: sqlite3.Connection, source: Source) -> int:
    connection.executemany(
        "INSERT INTO about VALUES (?, ?)",
        [
            ("version", source.version),
            ("source", "https://github.com/pydantic/genai-prices"),
            ("notice", NOTICE),
        ],
    )
    ids = {cast("str", provider["id"]): number for number, provider in enumerate(source.providers)}
    for number, provider in enumerate(source.providers):
        fallbacks = cast("list[str]", provider.get("fallback_model_providers") or [])
        known = [ids[name] for name in fallbacks if name in ids]
        connection.execute(
            "INSERT INTO providers VALUES (?, ?, ?)", (number, provider["id"], json.dumps(known))
        )
        for subject, key in (("provider", "provider_match"), ("model", "model_match")):
            if provider.get(key) is not None:
                for pattern in patterns_of(cast("_Map", provider[key])):
                    # A provider's patterns have ranks of their own, so that its own order is kept too.
                    connection.execute(
                        "INSERT INTO provider_matches SELECT ?1, count(*), ?2, ?3, ?4 FROM provider_matches"
                        " WHERE subject = ?1",
                        (subject, pattern.glob, pattern.regexp, number),
                    )
    plans: dict[_Plan, int] = {}
    models = 0
    for number, provider in enumerate(source.providers):
        own = cast("list[_Map]", provider["models"])
        _fill_models(connection, number, own, models, plans)
        models += len(own)
    connection.executemany(
        "INSERT INTO plans VALUES (?, ?, ?)", [(number, *plan) for plan, number in plans.items()]
    )
    return models


def _fill_models(
    connection: sqlite3.Connection, provider: int, models: list[_Map], first: int, plans: dict[_Plan, int]
) -> None:
    """Write one provider's models, whose order decides where several would match."""
    clauses = [list(patterns_of(cast("_Map", model["match"]))) for model in models]
    for offset, model in enumerate(models):
        body = _plan(model)
        plan = None if body is None else plans.setdefault(body, len(plans))
        connection.execute(
            "INSERT INTO models VALUES (?, ?, ?, ?)", (first + offset, provider, model["id"], plan)
        )
    matchers = [(offset, pattern) for offset, patterns in enumerate(clauses) for pattern in patterns]
    # Names that a pattern is made of are decided here too: they are asked for most, and a name costs a
    # fraction of a search through the patterns.
    for name in sorted({name for _, pattern in matchers for name in pattern.names}):
        winner = next((offset for offset, pattern in matchers if pattern.fits(name)), None)
        if winner is not None:
            connection.execute("INSERT INTO model_names VALUES (?, ?, ?)", (provider, name, first + winner))
    open_ones = [(offset, pattern) for offset, pattern in matchers if pattern.exact is None]
    connection.executemany(
        "INSERT INTO model_matches VALUES (?, ?, ?, ?, ?)",
        [
            (provider, rank, pattern.glob, pattern.regexp, first + offset)
            for rank, (offset, pattern) in enumerate(open_ones)
        ],
    )


def _plan(model: _Map) -> _Plan | None:
    """Return a model's prices and variants as `read_plan` reads them, or None if none is for tokens."""
    prices = model["prices"]
    entries = cast("list[_Map]", prices) if isinstance(prices, list) else [{"prices": prices}]
    periods = [_period(entry) for entry in entries]
    if not any(period["levels"] for period in periods):
        bare = all(price is None for entry in entries for price in cast("_Map", entry["prices"]).values())
        words = (cast("str", model["id"]), str(model.get("price_comments")))
        return _FREE_PLAN if bare and any(map(_FREE.search, words)) else None
    variants = [
        {"when": entry["when"]} | period
        for entry in cast("list[_Map]", model.get("price_variants") or [])
        if (period := _period(entry))["levels"]
    ]
    return _json(periods), _json(variants) if variants else None


def _period(entry: _Map) -> _Map:
    """Return one set of prices, in attodollars, and when it holds."""
    constraint = cast("dict[str, str]", entry.get("constraint") or {})
    period: _Map = {}
    if "start_date" in constraint:
        day = datetime.combine(date.fromisoformat(constraint["start_date"]), time(), UTC)
        period["from"] = int(day.timestamp()) * 1000
    elif "start_time" in constraint:
        period["daily"] = [_time_ms(constraint["start_time"]), _time_ms(constraint["end_time"])]
    elif constraint:
        raise ValueError(f"unknown constraint {sorted(constraint)}")
    return period | {"levels": _levels(cast("_Map", entry["prices"]))}


def _levels(prices: _Map) -> list[list[int | None]]:
    """Return [above, price, ..] for each size of request, the base at -1, prices in the order of `Rates`."""
    steps: dict[str, dict[int, int]] = {}
    for key, price in prices.items():
        bucket = _BUCKETS.get(key)
        if bucket is None or price is None:
            continue
        # They count requests in thousands.
        times = 1000 if bucket == "request" else 1
        tiered = cast("_Map", price) if isinstance(price, dict) else {"base": price, "tiers": []}
        tiers = {cast("int", tier["start"]): tier["price"] for tier in cast("list[_Map]", tiered["tiers"])}
        steps[bucket] = {at: _ausd(usd) * times for at, usd in ({-1: tiered["base"]} | tiers).items()}
    levels: list[list[int | None]] = []
    for above in sorted({at for step in steps.values() for at in step}):
        # The price of a bucket at a size is that of the largest step that it passes.
        at_size = {bucket: step[max(at for at in step if at <= above)] for bucket, step in steps.items()}
        row = [at_size.get(bucket) for bucket in BUCKETS]
        while row[-1] is None:
            row.pop()
        levels.append([above, *row])
    return levels


def _ausd(usd: object) -> int:
    ausd = ausd_of(usd)
    if ausd is None:
        raise ValueError(f"{usd} is no price")
    return ausd


def _json(periods: list[_Map]) -> str:
    """Return periods as JSON, with prices in the largest decimal unit in which all of them are whole."""
    levels = [level for period in periods for level in cast("list[list[int | None]]", period["levels"])]
    texts = [str(price) for _, *prices in levels for price in prices if price]
    zeros = min((len(text) - len(text.rstrip("0")) for text in texts), default=AUSD_DIGITS)
    zeros = min(zeros, AUSD_DIGITS)
    for level in levels:
        level[1:] = [None if price is None else price // 10**zeros for price in level[1:]]
    return json.dumps({"digits": AUSD_DIGITS - zeros, "periods": periods}, separators=(",", ":"))


def _time_ms(text: str) -> int:
    """Return milliseconds since midnight UTC."""
    at = time.fromisoformat(text)
    moment = datetime.combine(date(1970, 1, 2), at, at.tzinfo or UTC).astimezone(UTC)
    return ((moment.hour * 60 + moment.minute) * 60 + moment.second) * 1000


def _plain(value: object) -> object:
    """Return the package's objects as its `data.json` has them."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, date | time):
        return value.isoformat()
    if hasattr(value, "__dict__"):
        # `or_` and `and_` stand for words that Python keeps for itself.
        return {key.rstrip("_"): _plain(item) for key, item in vars(value).items() if not key.startswith("_")}
    return value if value is None or isinstance(value, str | int) else str(value)
