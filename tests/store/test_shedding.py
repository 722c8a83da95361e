"""A call gives up its words and keeps its numbers; what has no words is left alone."""

import json

import pytest
from attrs import evolve

from tests.store.building import call, event, failure, words
from trace_agent.core.events import Text, Tokens
from trace_agent.store.shedding import shed
from trace_agent.store.tables import Stored


@pytest.mark.parametrize(
    ("into", "out", "chars"),
    [(words("four"), None, 4), (None, words("four"), 4), (words(["a", "b"]), words({"c": 1}), 6 + 7)],
)
def test_words_go(into: Text | None, out: Text | None, chars: int) -> None:
    """Only the words go, and it is told how many characters they had."""
    full = call("a", input=into, output=out, tokens=Tokens(input=7), cost_nusd=8, latency_ms=9.0)
    shorter, shed_chars = shed(full)

    assert shorter == evolve(full, input=None, output=None, attributes='{"trace_agent.text_shed":true}')
    assert shed_chars == chars


@pytest.mark.parametrize("attributes", [None, "{}", '{"a":1}', '{"a":{},"b":[]}'])
def test_mark(attributes: str | None) -> None:
    """The mark stands among the attributes that were there."""
    shorter, _ = shed(call("a", input=words("x"), attributes=attributes))
    marked = json.loads(shorter.attributes or "")

    assert marked.pop("trace_agent.text_shed") is True
    assert marked == json.loads(attributes or "{}")


@pytest.mark.parametrize("wordless", [call("a", attributes='{"a":1}'), event("a"), failure("a", message="m")])
def test_no_words(wordless: Stored) -> None:
    """An event without words comes back as it is."""
    same, chars = shed(wordless)

    assert same is wordless
    assert chars == 0
