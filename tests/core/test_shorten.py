"""Words are kept as the settings allow: what is cut says so, and JSON stays JSON.

Invariants: what fits is the same object; what does not, fits afterwards but for markers and structure; roles,
ids, names and numbers stay; cutting again changes nothing.
"""

import json
import time
from hashlib import sha256
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trace_agent.core.events import Json, Text, TextKind
from trace_agent.core.settings_table import TextPolicy
from trace_agent.core.shorten import EXCERPT_BYTES, shorten

FULL, TRUNCATE, HASH, OFF = TextPolicy
MARKER_BYTES: Final = 32

contents = st.one_of(
    st.text(max_size=40),
    st.tuples(st.sampled_from(["a", "é", "漢", "😀", '"', "\n", "\x00"]), st.integers(0, 3000)).map(
        lambda pair: pair[0] * pair[1]
    ),
)
values = st.recursive(
    st.one_of(contents, st.integers(), st.none(), st.booleans()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.sampled_from(["role", "id", "tool_name", "content", "x"]), inner, max_size=4),
    ),
    max_leaves=6,
)
texts = st.one_of(
    contents.map(lambda text: Text(TextKind.TEXT, (text,))),
    values.map(lambda value: Text(TextKind.JSON, (compact(value),))),
    st.lists(values, min_size=1, max_size=8).map(lambda items: listing(*items)),
)


def compact(value: object) -> str:
    """Return JSON text as events hold it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def listing(*items: Json) -> Text:
    """Return a list of messages as events hold it."""
    return Text(TextKind.LIST, tuple(map(compact, items)))


def message(role: str, content: str) -> Json:
    """Return one message of a conversation."""
    return {"role": role, "content": content, "id": f"msg_{role}_0123456789_0123456789_0123456789"}


def kept(text: Text, limit_bytes: int, mode: TextPolicy = FULL) -> Text:
    """Return what is kept, which is something."""
    shorter = shorten(text, mode, limit_bytes)

    assert shorter is not None
    return shorter


def size_bytes(text: Text) -> int:
    """Return the size of all parts."""
    return sum(len(part.encode()) for part in text.parts)


def least_bytes(value: Json, name: str = "") -> int:
    """Return how small a value can get: strings become markers unless they are small or hold it together."""
    if isinstance(value, str):
        size = len(value.encode())
        whole = size <= 256 and name.endswith(("id", "name", "role"))
        return len(compact(value).encode()) if whole or size <= MARKER_BYTES else MARKER_BYTES + 2
    if isinstance(value, list):
        return 1 + sum(least_bytes(item) + 1 for item in value) + (not value)
    if isinstance(value, dict):
        inner = sum(len(compact(key).encode()) + 2 + least_bytes(item, key) for key, item in value.items())
        return 1 + inner + (not value)
    return len(compact(value))


def is_kept(before: Json, after: Json, name: str = "") -> bool:
    """Tell whether a value is what it was, but for strings that were cut and say how long they were."""
    if isinstance(before, str) and isinstance(after, str):
        size = len(before.encode())
        head, cut, marker = after.rpartition("…[cut: ")
        is_cut = bool(cut) and before.startswith(head) and marker == f"{size} bytes]"
        return before == after or (is_cut and (size > 256 or not name.endswith(("id", "name", "role"))))
    if isinstance(before, list) and isinstance(after, list):
        return len(before) == len(after) and all(map(is_kept, before, after))
    if isinstance(before, dict) and isinstance(after, dict):
        return list(before) == list(after) and all(is_kept(before[key], after[key], key) for key in before)
    return before == after


def test_what_fits_stays() -> None:
    """A text within the limit is the same object, and so is one that is exactly as long."""
    text = Text(TextKind.TEXT, ("é" * 500,))
    conversation = listing(message("user", "a" * 500))

    assert shorten(text, FULL, 1000) is text
    assert shorten(conversation, FULL, size_bytes(conversation)) is conversation
    assert shorten(None, FULL, 1000) is None


def test_long_text_is_cut_and_says_so() -> None:
    """A text over the limit keeps its beginning, and a marker tells how long it was."""
    text = Text(TextKind.TEXT, ("b" * 123_456,))

    assert kept(text, 1000) == Text(TextKind.TEXT, ("b" * 1000 + "…[cut: 123456 bytes]",))


@pytest.mark.parametrize(("character", "size"), [("é", 2), ("漢", 3), ("😀", 4)])
def test_characters_are_not_cut(character: str, size: int) -> None:
    """A cut falls between characters, whatever bytes they take, and sizes are those of UTF-8."""
    for limit in range(1000, 1004):
        text = kept(Text(TextKind.TEXT, (character * 2000,)), limit).parts[0]

        assert text == character * (limit // size) + f"…[cut: {2000 * size} bytes]"


def test_marker_of_a_secret_is_not_cut() -> None:
    """Half a marker would look like a value, so it goes as a whole."""
    text = Text(TextKind.TEXT, ("a" * 90 + "[redacted:github_token]" + "b" * 200,))
    whole = Text(TextKind.TEXT, ("[redacted:token]" + "a" * 300,))

    assert kept(text, 100).parts[0] == "a" * 90 + "…[cut: 313 bytes]"
    assert kept(text, 113).parts[0] == "a" * 90 + "[redacted:github_token]…[cut: 313 bytes]"
    assert kept(whole, 20).parts[0] == "[redacted:token]aaaa…[cut: 316 bytes]"


def test_cut_that_saves_nothing_is_not_made() -> None:
    """A text hardly longer than the limit stays whole: its marker would be as long as what it stands for."""
    text = Text(TextKind.TEXT, ("a" * 1030,))

    assert kept(text, 1000) is text


def test_oldest_messages_are_cut_first() -> None:
    """Of a conversation the beginning gives way; the newest messages, roles and ids stay whole."""
    conversation = listing(*(message("user", f"{number}" * 1000) for number in range(8)))
    shorter = kept(conversation, 6000)
    contents = [json.loads(part)["content"] for part in shorter.parts]

    assert [len(text) for text in contents[-4:]] == [1000] * 4
    assert contents[0] == "0" * 128 + "…[cut: 1000 bytes]"
    assert [json.loads(part)["id"] for part in shorter.parts] == [
        json.loads(part)["id"] for part in conversation.parts
    ]
    assert 4500 - 1000 <= size_bytes(shorter) <= 6000


def test_growing_conversation_is_cut_in_steps() -> None:
    """While a conversation grows by less than a quarter of the limit, it is cut in the same way."""
    messages = [message("user", f"{number:04}" * 50) for number in range(200)]
    beginnings = {kept(listing(*messages[:count]), 20_000).parts[:70] for count in range(90, 200)}
    sizes = [size_bytes(kept(listing(*messages[:count]), 20_000)) for count in range(90, 160)]

    assert len(beginnings) <= 6
    assert max(sizes) <= 20_000
    assert min(sizes) >= 14_000


def test_one_long_message_keeps_what_there_is_room_for() -> None:
    """A single message that is too long is cut to what fits, not to its first words."""
    conversation = listing(
        message("system", "be brief"), message("user", "x" * 10_000), message("user", "why?")
    )
    shorter = kept(conversation, 8000)
    content = json.loads(shorter.parts[1])["content"]

    assert content.startswith("x" * 5000)
    assert content.endswith("…[cut: 10000 bytes]")
    assert shorter.parts[0] == conversation.parts[0]
    assert shorter.parts[2] == conversation.parts[2]


def test_small_limit_leaves_markers() -> None:
    """Where the first words of each message are too much already, markers alone are kept."""
    conversation = listing(*(message("user", "x" * 500) for _ in range(50)))
    shorter = kept(conversation, 5000)

    assert json.loads(shorter.parts[0]) == {
        **json.loads(conversation.parts[0]),
        "content": "…[cut: 500 bytes]",
    }
    assert size_bytes(shorter) < 50 * 120


def test_json_value_is_cut_in_its_order() -> None:
    """A request as a whole loses its first strings first, and keeps names, numbers and short ids."""
    request = {
        "model": "m",
        "messages": [{"role": "user", "content": "a" * 1000}, {"role": "user", "content": "b" * 1000}],
        "tool_name": "n" * 200,
        "temperature": 0.5,
    }
    shorter = json.loads(kept(Text(TextKind.JSON, (compact(request),)), 1600).parts[0])

    assert shorter["messages"][0]["content"].endswith("…[cut: 1000 bytes]")
    assert shorter["messages"][1] == request["messages"][1]  # type: ignore[index]  # a list, as seen above
    assert shorter["tool_name"] == "n" * 200
    assert shorter["temperature"] == 0.5


def test_excerpt_of_each_string() -> None:
    """`truncate` keeps the first kilobyte of a text, or of each string of a conversation."""
    text = kept(Text(TextKind.TEXT, ("a" * 5000,)), 262_144, TRUNCATE)
    conversation = listing(message("user", "b" * 5000), message("user", "short"), 7)
    shorter = kept(conversation, 262_144, TRUNCATE)

    assert text.parts[0] == "a" * EXCERPT_BYTES + "…[cut: 5000 bytes]"
    assert json.loads(shorter.parts[0])["content"] == "b" * EXCERPT_BYTES + "…[cut: 5000 bytes]"
    assert shorter.parts[1:] == conversation.parts[1:]
    assert size_bytes(kept(conversation, 500, TRUNCATE)) <= 500


def test_hash_of_a_text() -> None:
    """`hash` keeps the hash and the size of the text itself, or of its compact JSON."""
    text = Text(TextKind.TEXT, ("é",))
    conversation = listing("é", 1)
    as_value = Text(TextKind.JSON, ('["é",1]',))
    expected = {"sha256": sha256("é".encode()).hexdigest(), "bytes": 2}

    assert kept(text, 1000, HASH) == Text(TextKind.JSON, (compact(expected),))
    assert kept(conversation, 1000, HASH) == kept(as_value, 1000, HASH)
    assert json.loads(kept(as_value, 1000, HASH).parts[0]) == {
        "sha256": sha256(b'["\xc3\xa9",1]').hexdigest(),
        "bytes": 8,
    }


def test_nothing_is_kept() -> None:
    """`off` keeps nothing."""
    assert shorten(Text(TextKind.TEXT, ("a",)), OFF, 1000) is None


@given(texts, st.sampled_from([FULL, TRUNCATE]), st.integers(1, 4000))
def test_what_is_kept_fits(text: Text, mode: TextPolicy, limit_bytes: int) -> None:
    """Anything is cut to the limit as far as it can be, stays what it was, and is not cut twice."""
    shorter = kept(text, limit_bytes, mode)

    assert shorter.kind is text.kind
    assert len(shorter.parts) == len(text.parts)
    assert kept(shorter, limit_bytes, mode) == shorter
    if text.kind is TextKind.TEXT:
        assert size_bytes(shorter) <= limit_bytes + MARKER_BYTES
    else:
        before, after = ([json.loads(part) for part in each.parts] for each in (text, shorter))
        assert is_kept(before, after)
        assert size_bytes(shorter) <= max(limit_bytes, sum(map(least_bytes, before)))


def test_text_that_fits_costs_nothing() -> None:
    """Looking at a megabyte that fits takes less than a tenth of the time of hashing it."""
    text = listing(*(message("user", "a" * 100_000) for _ in range(10)))
    raw = "".join(text.parts).encode()

    def seconds(*, hashing: bool) -> float:
        began = time.thread_time()
        for _ in range(1 if hashing else 10):
            sha256(raw).digest() if hashing else shorten(text, FULL, 2_000_000)
        return time.thread_time() - began

    assert min(seconds(hashing=False) for _ in range(5)) < max(seconds(hashing=True) for _ in range(5))
