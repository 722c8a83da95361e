"""Words of calls go in once each and come back as they were.

Invariant: whatever values are put, in whatever batches, and whatever is forgotten, rolled back or removed by
others in between, each value that was stored reads back exactly, and no text or node is there twice.
"""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.store.building import column, noise, rows, words
from tests.strategies import plain_values
from trace_agent.core.events import Json, TextKind
from trace_agent.store import texts as module
from trace_agent.store.schema import migrate
from trace_agent.store.texts import TextStore, read_text

Ref = tuple[str | None, int | None]

_values: Final = plain_values.filter(lambda value: value is not None)
# Few different messages, so that histories meet and part.
_histories: Final = st.lists(st.sampled_from(["a", "b", {"role": "user"}, 1, None]), max_size=6)


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    """A connection to a database of ours in memory."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as opened:
        migrate(opened)
        yield opened


@pytest.fixture
def store(connection: sqlite3.Connection) -> TextStore:
    """A store of texts within a transaction that has begun."""
    store = TextStore(connection)
    begin(connection, store)
    return store


def begin(connection: sqlite3.Connection, store: TextStore) -> None:
    """Begin a transaction."""
    connection.execute("BEGIN IMMEDIATE")
    store.begin()


def put(store: TextStore, *values: object) -> list[Ref]:
    """Put values and store them."""
    refs = [store.put(words(value)) for value in values]
    store.flush()
    return refs


def same(left: object, right: object) -> bool:
    """Return whether two values are the same JSON: 1, 1.0 and true are not."""
    return json.dumps(left) == json.dumps(right)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("", TextKind.TEXT),
        ("text", TextKind.TEXT),
        ("7", TextKind.TEXT),
        ("\0\u2028 \U0001f600", TextKind.TEXT),
        ("long " * 1000, TextKind.TEXT),
        (["a", {"b": [None, 1.0, True]}, [], "long " * 1000], TextKind.LIST),
        ([None], TextKind.LIST),
        ([], TextKind.JSON),
        ({}, TextKind.JSON),
        ({"a": "long " * 1000}, TextKind.JSON),
        (0, TextKind.JSON),
        (-0.0, TextKind.JSON),
        (False, TextKind.JSON),
    ],
)
def test_round_trip_of(connection: sqlite3.Connection, store: TextStore, value: Json, kind: TextKind) -> None:
    """A value comes back as it went in, under the kind that says how it is kept."""
    (ref,) = put(store, value)

    assert ref[0] == kind
    assert same(value, read_text(connection, *ref))


@given(value=_values)
def test_round_trip(value: Json) -> None:
    """Any JSON value but null comes back exactly, also from the memory and by a store that starts anew."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(connection)
        store = TextStore(connection)
        begin(connection, store)
        (ref,) = put(store, value)
        connection.execute("COMMIT")
        again = TextStore(connection)
        begin(connection, again)

        assert same(value, read_text(connection, *ref))
        assert [ref, ref] == [*put(store, value), *put(again, value)]


def test_no_text(connection: sqlite3.Connection, store: TextStore) -> None:
    """No words are no reference, and a reference to nothing reads as nothing."""
    assert store.put(None) == (None, None)
    assert read_text(connection, None, None) is None
    assert read_text(connection, "text", 1) is None
    assert read_text(connection, "list", 1) == []


@given(
    batches=st.lists(
        st.tuples(
            st.lists(_histories.filter(bool), max_size=5),
            st.sampled_from(["commit", "forget", "roll back", "roll back a part", "prune", "restart"]),
        ),
        max_size=6,
    ),
    memory=st.sampled_from([1, 3, 4096]),
)
def test_batches(
    tmp_path_factory: pytest.TempPathFactory, batches: list[tuple[list[list[Json]], str]], memory: int
) -> None:
    """Histories that share their beginnings read back, whatever happens between the batches."""
    path = tmp_path_factory.mktemp("texts") / "traces.db"
    with pytest.MonkeyPatch.context() as patch, closing(sqlite3.connect(path, isolation_level=None)) as own:
        patch.setattr(module, "_CACHE_ENTRIES", memory)
        own.execute("PRAGMA synchronous = OFF")
        migrate(own)
        store = TextStore(own)
        kept: list[tuple[list[Json], Ref]] = []
        for histories, ending in batches:
            begin(own, store)
            before = len(kept)
            for number, history in enumerate(histories):
                own.execute("SAVEPOINT one")
                (ref,) = put(store, history)
                if ending == "roll back a part" and number % 2:
                    own.execute("ROLLBACK TO one")
                    store.forget()
                else:
                    kept.append((history, ref))
                own.execute("RELEASE one")
            if ending == "roll back":
                own.execute("ROLLBACK")
                store.forget()
                del kept[before:]
                continue
            own.execute("COMMIT")
            if ending == "forget":
                store.forget()
            elif ending == "restart":
                store = TextStore(own)
            elif ending == "prune":
                with closing(sqlite3.connect(path)) as other, other:
                    other.execute("DELETE FROM text_nodes")
                    other.execute("DELETE FROM texts")
                kept.clear()

        assert [history for history, _ in kept] == [read_text(own, *ref) for _, ref in kept]
        assert len({json.dumps(message) for history, _ in kept for message in history}) <= len(
            column(own, "SELECT id FROM texts")
        )


def test_growing_history(connection: sqlite3.Connection, store: TextStore) -> None:
    """A session of fifty turns that resends its history each time keeps each message once."""
    messages: list[Json] = [{"role": "user", "content": f"turn {turn}"} for turn in range(50)]
    refs = [put(store, messages[: turn + 1])[0] for turn in range(50)]

    assert len(rows(connection, "texts")) == 50
    assert len(rows(connection, "text_nodes")) == 50
    assert [read_text(connection, *ref) for ref in refs] == [messages[: turn + 1] for turn in range(50)]


def test_growing_history_over_restarts(connection: sqlite3.Connection, store: TextStore) -> None:
    """The same holds when nothing is remembered between two turns."""
    messages: list[Json] = [f"turn {turn}" for turn in range(20)]
    for turn in range(20):
        put(store, messages[: turn + 1])
        store.forget()

    assert (len(rows(connection, "texts")), len(rows(connection, "text_nodes"))) == (20, 20)


def test_branches(connection: sqlite3.Connection, store: TextStore) -> None:
    """Conversations that part share what they have in common; equal messages at other places have nodes."""
    first, second, same_again = put(store, ["a", "b", "b"], ["a", "c"], ["a", "b", "b"])

    assert first == same_again
    assert len(rows(connection, "texts")) == 3
    assert [(row["parent"], row["text"]) for row in rows(connection, "text_nodes")] == [
        (0, 1), (1, 2), (2, 2), (1, 3),
    ]  # fmt: skip
    assert read_text(connection, *second) == ["a", "c"]


def test_kinds_share_texts(connection: sqlite3.Connection, store: TextStore) -> None:
    """Words with the same bytes are one text, whatever kind of value they are."""
    refs = put(store, "7", 7, [7])

    assert len(rows(connection, "texts")) == 1
    assert [read_text(connection, *ref) for ref in refs] == ["7", 7, [7]]


@pytest.mark.parametrize(
    ("text", "codec", "smaller"),
    [
        ("word " * 102, 0, False),  # 510 bytes: too short for compression to pay
        ("word " * 103, 1, True),
        ("ä" * 300, 1, True),  # sizes are in bytes
        (noise(1, 512).parts[0], 1, True),
    ],
    ids=["short", "long", "bytes", "noise"],
)
def test_compression(
    connection: sqlite3.Connection, store: TextStore, text: str, codec: int, smaller: bool
) -> None:
    """Texts are compressed from half a kilobyte on, and say their true size."""
    (ref,) = put(store, text)
    ((kept_codec, size_bytes, kept_bytes),) = connection.execute(
        "SELECT codec, size_bytes, length(data) FROM texts"
    )

    assert read_text(connection, *ref) == text
    assert size_bytes == len(text.encode())
    assert (kept_codec, kept_bytes < size_bytes) == (codec, smaller)


def test_nothing_before_flush(connection: sqlite3.Connection, store: TextStore) -> None:
    """What is put waits for the flush, and is forgotten with all else when it does not come."""
    store.put(words(["a"]))
    waiting = rows(connection, "texts") + rows(connection, "text_nodes")
    store.forget()
    store.flush()

    assert waiting == rows(connection, "texts") + rows(connection, "text_nodes") == []


def test_memory_is_bounded(
    connection: sqlite3.Connection, store: TextStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between batches no more is remembered than the bound, the latest first; nothing is stored twice."""
    monkeypatch.setattr(module, "_CACHE_ENTRIES", 4)
    history = [f"message {number}" for number in range(10)]
    put(store, history)
    put(store, history[:6], history[:3])

    assert (len(store._texts), len(store._nodes)) == (4, 4)
    assert (len(rows(connection, "texts")), len(rows(connection, "text_nodes"))) == (10, 10)
