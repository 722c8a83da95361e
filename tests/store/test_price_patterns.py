"""Patterns of the price table fit exactly the names that the clauses they are made from hold for."""

import re
import sqlite3
from collections.abc import Iterator
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trace_agent.store.price_patterns import patterns_of


@pytest.fixture(scope="module")
def connection() -> Iterator[sqlite3.Connection]:
    """Yield SQLite with the REGEXP that the price list adds to it."""
    memory = sqlite3.connect(":memory:")
    memory.create_function("regexp", 2, lambda pattern, name: re.search(pattern, name) is not None)
    memory.execute("CREATE TABLE matches (glob, regexp)")
    yield memory
    memory.close()


def holds(clause: dict[str, Any], name: str) -> bool:
    """Tell whether a clause holds for a name in lower case: the meaning, plainly put."""
    ((kind, operand),) = clause.items()
    if kind == "or":
        return any(holds(part, name) for part in operand)
    if kind == "and":
        return all(holds(part, name) for part in operand)
    if kind == "regex":
        return re.search(operand, name) is not None
    text = operand.lower()
    verdicts: dict[str, bool] = {
        "equals": name == text,
        "starts_with": name.startswith(text),
        "ends_with": name.endswith(text),
        "contains": text in name,
    }
    return verdicts[kind]


# Few letters, so that names and clauses meet; and all that GLOB and regular expressions could trip over.
TEXT: Final = st.text("aB.-*?[]^\n", max_size=4)
REGEX: Final = st.sampled_from(
    [
        r"^a",
        r"b$",
        r"^a-b",
        r"^ab?",
        r"^a{2}",
        r"^(a|b)-",
        r"^(?!.*-b(?:$|-))",
        r"^a\.b",
        r"[-.]",
        r"a|b",
        r"^a|b",
    ]
)
LEAF: Final = st.one_of(
    st.fixed_dictionaries({"equals": TEXT}),
    st.fixed_dictionaries({"starts_with": TEXT}),
    st.fixed_dictionaries({"ends_with": TEXT}),
    st.fixed_dictionaries({"contains": TEXT}),
    st.fixed_dictionaries({"regex": REGEX}),
)
CLAUSE: Final = st.recursive(
    LEAF,
    lambda inner: st.one_of(
        st.fixed_dictionaries({"or": st.lists(inner, min_size=1, max_size=3)}),
        st.fixed_dictionaries({"and": st.lists(inner, min_size=1, max_size=3)}),
    ),
    max_leaves=5,
)


@given(clause=CLAUSE, name=st.text("ab.-*?[]^\n", max_size=6))
def test_any_clause(connection: sqlite3.Connection, clause: dict[str, Any], name: str) -> None:
    """For any clause and name, Python and SQLite say of the patterns what the clause says."""
    patterns = list(patterns_of(clause))
    connection.execute("DELETE FROM matches")
    connection.executemany(
        "INSERT INTO matches VALUES (?, ?)", [(pattern.glob, pattern.regexp) for pattern in patterns]
    )
    (fitting,) = connection.execute(
        "SELECT count(*) FROM matches WHERE ?1 GLOB glob AND (regexp IS NULL OR ?1 REGEXP regexp)", (name,)
    ).fetchone()

    assert any(pattern.fits(name) for pattern in patterns) is holds(clause, name)
    assert (fitting > 0) is holds(clause, name)


def test_likely_names() -> None:
    """A pattern knows names that will be asked for, Bedrock's with their version."""
    (exact,) = patterns_of({"equals": "GPT-[4]"})
    (start,) = patterns_of({"starts_with": "claude-[a]*"})
    (bedrock,) = patterns_of({"contains": "us.anthropic.claude-x"})

    assert exact.names == ("gpt-[4]",)
    assert start.names == ("claude-[a]*",)
    assert bedrock.names == ("us.anthropic.claude-x", "us.anthropic.claude-x-v1:0")


def test_regexp_is_guarded() -> None:
    """A regular expression is only tried on names that begin like it."""
    (pattern,) = patterns_of({"regex": r"^gpt-5\.4-\d{4}$"})

    assert (pattern.glob, pattern.regexp) == ("gpt-5.4-*", r"^gpt-5\.4-\d{4}$")


def test_unknown_clause() -> None:
    """A clause that nobody has heard of is an error, not a model that never matches."""
    with pytest.raises(ValueError, match="unknown clause"):
        list(patterns_of({"sounds_like": "gpt"}))
