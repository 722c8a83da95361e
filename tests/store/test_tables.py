"""A batch becomes rows, repeated ids and dead letters, all of it or nothing.

Invariant: each event given is stored, repeated or dead; the counter of rows is what SQL counts; no change
number is given twice, and later changes have greater ones, over all tables.
"""

import json
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest
from attrs import asdict, evolve
from hypothesis import given
from hypothesis import strategies as st

from tests.store.building import (
    NOW_MS,
    call,
    column,
    event,
    failure,
    ids,
    meta,
    new_id,
    noise,
    row_count,
    rows,
    window,
    words,
)
from trace_agent.core.events import ErrorKind, Llm, MetricKind, Severity, Text, TextKind, Tokens
from trace_agent.core.rollup import Window
from trace_agent.store import tables as module
from trace_agent.store.database import Database, open_database
from trace_agent.store.schema import EVENT_TABLES, migrate
from trace_agent.store.tables import Outcome, Stored, Tables
from trace_agent.store.texts import read_text

COMMON: Final[dict[str, Any]] = {
    "id": "a-1",
    "own_id": False,
    "ts_ms": 1.5,
    "received_ms": 3,
    "agent": "agent",
    "session": "session",
    "run": "run",
    "trace_id": "trace",
    "span_id": "span",
    "attributes": '{"a":1}',
}
# What a row of an event has, whatever its table.
COMMON_ROW: Final = {name: value for name, value in COMMON.items() if name != "own_id"} | {
    "row": 1, "change_seq": 1, "rev": 1,
}  # fmt: skip


@pytest.fixture
def connection(database: Database) -> sqlite3.Connection:
    """The connection of a new database."""
    return database.connection


@pytest.fixture
def tables(connection: sqlite3.Connection) -> Tables:
    """The tables of a new database."""
    return Tables(connection)


@pytest.fixture
def poison(connection: sqlite3.Connection) -> None:
    """Triggers that refuse every row whose id begins with `bad`."""
    refuse_bad(connection)


def refuse_bad(connection: sqlite3.Connection) -> None:
    """Make SQLite refuse every row whose id begins with `bad`."""
    for table in EVENT_TABLES:
        connection.execute(
            f"CREATE TRIGGER refuse_{table} BEFORE INSERT ON {table} WHEN NEW.id LIKE 'bad%'"
            " BEGIN SELECT RAISE(ABORT, 'it is bad'); END"
        )


def seqs(connection: sqlite3.Connection) -> list[int]:
    """Return the change numbers of all tables."""
    return [
        int(str(seq))
        for table in EVENT_TABLES
        for seq in column(connection, f"SELECT change_seq FROM {table}")
    ]


def test_call_row(connection: sqlite3.Connection, tables: Tables) -> None:
    """Every field of a call is in its column, and its words are where the columns say."""
    tables.write(
        [
            call(
                **COMMON,
                seen_by="http",
                provider="provider",
                model="model",
                response_model="model-1",
                operation="embed",
                input=words(["question"]),
                output=words("answer"),
                tokens=Tokens(1, 2, 3, 4, 5, 6, 15),
                usage='{"x":1}',
                cost_nusd=7,
                latency_ms=8.5,
                ttft_ms=9.5,
                status="error",
                error_kind=ErrorKind.TIMEOUT,
                error_code=504,
                error_message="late",
                finish_reason="stop",
                request_id="request",
            )
        ],
        [],
        NOW_MS,
    )
    (row,) = rows(connection, "llm")

    assert row == COMMON_ROW | {
        "provider": "provider", "model": "model", "response_model": "model-1", "operation": "embed",
        "input_kind": "list", "input_ref": 1, "output_kind": "text", "output_ref": 2,
        "tokens_input": 1, "tokens_cache_read": 2, "tokens_cache_write": 3, "tokens_cache_write_1h": 4,
        "tokens_output": 5, "tokens_reasoning": 6, "tokens_total": 15,
        "usage": '{"x":1}', "reported_nusd": 7, "computed_nusd": None,
        "cost_basis": "reported", "price_version": None,
        "latency_ms": 8.5, "ttft_ms": 9.5, "status": "error",
        "error_kind": "timeout", "error_code": 504, "error_message": "late",
        "finish_reason": "stop", "request_id": "request", "sources": "http",
    }  # fmt: skip
    assert read_text(connection, "list", 1) == ["question"]
    assert read_text(connection, "text", 2) == "answer"


def test_bare_call_row(connection: sqlite3.Connection, tables: Tables) -> None:
    """What a call does not tell is null, never 0, and its cost is unknown."""
    tables.write([call("a-1")], [], NOW_MS)
    (row,) = rows(connection, "llm")
    known = {name: value for name, value in row.items() if value is not None}

    assert known == {
        "row": 1, "id": "a-1", "change_seq": 1, "rev": 1, "ts_ms": NOW_MS, "received_ms": NOW_MS,
        "operation": "chat", "cost_basis": "unknown", "status": "ok", "sources": "udp",
    }  # fmt: skip


def test_free_call_row(connection: sqlite3.Connection, tables: Tables) -> None:
    """A cost and tokens that are reported as 0 are values."""
    tables.write([call("a-1", cost_nusd=0, tokens=Tokens(input=0))], [], NOW_MS)
    (row,) = rows(connection, "llm")

    assert (row["reported_nusd"], row["cost_basis"]) == (0, "reported")
    assert (row["tokens_input"], row["tokens_output"]) == (0, None)


def test_event_row(connection: sqlite3.Connection, tables: Tables) -> None:
    """Every field of an event is in its column."""
    tables.write([event(**COMMON, name="n", duration_ms=2.5, severity=Severity.DEBUG)], [], NOW_MS)

    assert rows(connection, "events") == [COMMON_ROW | {"name": "n", "duration_ms": 2.5, "severity": "debug"}]


def test_error_row(connection: sqlite3.Connection, tables: Tables) -> None:
    """Every field of an error is in its column."""
    own: dict[str, Any] = {
        "kind": "a.b",
        "message": "m",
        "severity": Severity.FATAL,
        "stack": "s",
        "source": "t",
    }
    tables.write([failure(**COMMON, **own)], [], NOW_MS)

    assert rows(connection, "errors") == [COMMON_ROW | own]


def test_metric_row(connection: sqlite3.Connection, tables: Tables) -> None:
    """Every figure of a window is in its column, tags as a JSON list."""
    figures: dict[str, Any] = {
        "count": 2.0, "sum": 3.0, "min": 1.0, "max": 2.0, "last": 2.0,
        "p50": 1.5, "p95": 1.9, "p99": 1.99, "members": 4, "sketch": b"\0\1",
    }  # fmt: skip
    tables.write(
        [], [Window("m-1", 10.5, 10_000, 3, "ü", MetricKind.TIMER, ("a:b", 'c"'), **figures)], NOW_MS
    )

    assert rows(connection, "metrics") == [
        {
            "row": 1, "id": "m-1", "change_seq": 1, "rev": 1, "ts_ms": 10.5, "received_ms": 3,
            "window_ms": 10_000, "name": "ü", "kind": "timer", "tags": '["a:b","c\\""]', **figures,
        }
    ]  # fmt: skip


def test_window_again(connection: sqlite3.Connection, tables: Tables) -> None:
    """A window that was stored open is brought up to date: one row, a higher `rev`, a new change number."""
    first = window("m-1")
    tables.write([], [first, window("m-2")], NOW_MS)
    stored = meta(connection, "rows_stored")
    tables.write([], [evolve(first, count=5.0, sum=9.0, received_ms=NOW_MS + 1)], NOW_MS)
    (again, other) = rows(connection, "metrics")

    assert (again["row"], again["rev"], again["change_seq"]) == (1, 2, 3)
    assert (again["count"], again["sum"], again["received_ms"]) == (5.0, 9.0, NOW_MS + 1)
    assert (other["rev"], other["change_seq"]) == (1, 2)
    assert stored == meta(connection, "rows_stored") == 2


def test_nothing(connection: sqlite3.Connection, tables: Tables) -> None:
    """An empty batch changes nothing."""
    assert tables.write([], [], NOW_MS) == Outcome()
    assert (meta(connection, "change_seq"), meta(connection, "rows_stored")) == (0, 0)


@pytest.mark.parametrize(("make", "table"), [(call, "llm"), (event, "events"), (failure, "errors")])
def test_repeated_ids(path: Path, make: Callable[..., Stored], table: str) -> None:
    """An id that comes again is counted and not stored: in one batch, in a later one, after a restart."""
    opened = open_database(path, NOW_MS)
    tables = Tables(opened.connection)
    same_batch = tables.write([make("a", agent="1st"), make("b"), make("a", agent="2nd")], [], NOW_MS)
    later = tables.write([make("b"), make("c"), make("c")], [], NOW_MS)
    opened.close()
    opened = open_database(path, NOW_MS)
    restarted = Tables(opened.connection).write([make("c"), make("a")], [], NOW_MS)
    kept = [(row["id"], row["agent"]) for row in rows(opened.connection, table)]
    counted = meta(opened.connection, "rows_stored")
    opened.close()

    assert same_batch == Outcome(stored=2, repeated=1)
    assert later == Outcome(stored=1, repeated=2)
    assert restarted == Outcome(repeated=2)
    assert kept == [("a", "1st"), ("b", None), ("c", None)]
    assert counted == 3


def test_ids_are_per_type(connection: sqlite3.Connection, tables: Tables) -> None:
    """The same id in two types is two rows."""
    outcome = tables.write([call("a"), event("a"), failure("a")], [window("a")], NOW_MS)

    assert outcome == Outcome(stored=3)
    assert meta(connection, "rows_stored") == row_count(connection) == 4


@pytest.mark.parametrize("id_", ["a\0b", "\0", "a'b", "%", "🙂", '["a"]'])
def test_odd_ids(connection: sqlite3.Connection, tables: Tables, id_: str) -> None:
    """An id may be any text: it is kept as it is, and known again."""
    first = tables.write([event(id_), event(id_)], [], NOW_MS)
    second = tables.write([event(id_), event("a")], [], NOW_MS)

    assert (first, second) == (Outcome(stored=1, repeated=1), Outcome(stored=1, repeated=1))
    assert ids(connection, "events") == [id_, "a"]


def test_repeated_call_keeps_no_words(connection: sqlite3.Connection, tables: Tables) -> None:
    """A call that is repeated leaves no words that belong to nobody."""
    tables.write([call("a", input=words("first")), call("a", input=words("second"))], [], NOW_MS)

    assert [row["size_bytes"] for row in rows(connection, "texts")] == [len("first")]


def test_change_numbers(connection: sqlite3.Connection, tables: Tables) -> None:
    """Change numbers run over all tables in order, and repeated events take none."""
    tables.write([failure(), call("a"), event(), call("a")], [window("m")], NOW_MS)
    first = sorted(seqs(connection))
    tables.write([call("a"), call()], [window("m")], NOW_MS)

    assert first == [1, 2, 3, 4]
    assert sorted(seqs(connection)) == [1, 2, 3, 5, 6]
    assert meta(connection, "change_seq") == 6


def test_change_numbers_over_deletes(connection: sqlite3.Connection, tables: Tables) -> None:
    """A change number is not given again when its row is gone."""
    tables.write([event(), event()], [], NOW_MS)
    connection.execute("DELETE FROM events")
    tables.write([event()], [], NOW_MS)

    assert seqs(connection) == [3]


@pytest.mark.usefixtures("poison")
def test_refused_rows(connection: sqlite3.Connection, tables: Tables) -> None:
    """What SQLite refuses becomes a dead letter with all there is to know, and its neighbours are stored."""
    bad = call("bad-1", input=words(["lost"]), tokens=Tokens(input=7))
    outcome = tables.write(
        [call("a", input=words("kept")), bad, call("b"), event("bad-2"), event("c"), failure("bad-3")],
        [window("m"), window("bad-4"), window("n")],
        NOW_MS + 5,
    )
    letters = rows(connection, "dead_letters")
    payload = json.loads(str(letters[0]["payload"]))

    assert outcome == Outcome(stored=3, dead=3, dead_windows=1)
    assert [ids(connection, table) for table in EVENT_TABLES] == [["a", "b"], ["c"], [], ["m", "n"]]
    assert meta(connection, "rows_stored") == row_count(connection) == 5
    assert [(letter["id"], letter["type"]) for letter in letters] == [
        ("bad-1", "llm"), ("bad-2", "event"), ("bad-3", "error"), ("bad-4", "metric"),
    ]  # fmt: skip
    assert {(letter["reason"], letter["origin"], letter["received_ms"]) for letter in letters} == {
        ("it is bad", "store", NOW_MS + 5)
    }
    assert payload == json.loads(json.dumps(asdict(bad)))
    assert [row["size_bytes"] for row in rows(connection, "texts")] == [len("kept")]
    assert len(set(seqs(connection))) == 5


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (event("bad", name=object()), "type 'object' is not supported"),
        (event("bad", name=None), "NOT NULL"),
        (event("bad", duration_ms="long"), "cannot store TEXT value in REAL column"),
        (event("bad", ts_ms=2**63), "too large"),
        (event("bad", name="\ud800"), "surrogates not allowed"),
        (event("bad\udfff"), "surrogates not allowed"),
        (event("bad", attributes="a" * 150_000), "too big"),
        (call("bad", input=Text(TextKind.TEXT, ("\ud800",))), "surrogates not allowed"),
        (call("bad", input=Text(TextKind.LIST, ('"a"', '"\ud800"'))), "surrogates not allowed"),
        (call("bad", tokens=Tokens(input=2**64)), "too large"),
    ],
)
def test_impossible_values(connection: sqlite3.Connection, tables: Tables, bad: Stored, reason: str) -> None:
    """A value that SQLite cannot hold costs its own row only, whatever made it impossible."""
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 100_000)
    good = [evolve(bad, id=name, **plain(bad)) for name in ("a", "b", "c")]
    outcome = tables.write([good[0], bad, good[1]], [], NOW_MS)
    later = tables.write([good[2], good[0]], [], NOW_MS)
    (letter,) = rows(connection, "dead_letters")

    assert outcome == Outcome(stored=2, dead=1)
    assert later == Outcome(stored=1, repeated=1)
    assert reason in str(letter["reason"])
    assert str(letter["id"]).startswith("bad")
    assert str(letter["payload"]).isascii()


def plain(bad: Stored) -> dict[str, Any]:
    """Return harmless values in place of the impossible ones."""
    harmless = call() if isinstance(bad, Llm) else event()
    return {
        name: getattr(harmless, name)
        for name in ("ts_ms", "attributes", "name", "duration_ms", "input", "tokens")
        if hasattr(harmless, name)
    }


def test_impossible_window(connection: sqlite3.Connection, tables: Tables) -> None:
    """A window whose tags are no Unicode is a dead letter, and does not count as an event."""
    outcome = tables.write([event()], [window("a"), window("b", tags=("\ud800",))], NOW_MS)

    assert outcome == Outcome(stored=1, dead_windows=1)
    assert ids(connection, "metrics") == ["a"]
    assert [(row["type"], row["id"]) for row in rows(connection, "dead_letters")] == [("metric", "b")]
    assert meta(connection, "rows_stored") == row_count(connection)


def test_own_ids_clash(connection: sqlite3.Connection, tables: Tables) -> None:
    """Should two events have the same id of ours, the second is kept as a dead letter."""
    outcome = tables.write([evolve(event(), id="x"), evolve(event(), id="x")], [], NOW_MS)

    assert outcome == Outcome(stored=1, dead=1)
    assert "events.id" in str(rows(connection, "dead_letters")[0]["reason"])


@pytest.mark.usefixtures("poison")
def test_history_goes_on_after_a_refused_row(connection: sqlite3.Connection, tables: Tables) -> None:
    """Calls that continue a conversation around a refused one are stored, and their words once."""
    history = ["one", "two", "three", "four"]
    outcome = tables.write(
        [
            call("a", input=words(history[:1])),
            call("b", input=words(history[:2])),
            call("bad", input=words(history[:3])),
            call("c", input=words(history[:3])),
            call("d", input=words(history)),
        ],
        [],
        NOW_MS,
    )
    kept = [read_text(connection, "list", row[0]) for row in connection.execute("SELECT input_ref FROM llm")]

    assert outcome == Outcome(stored=4, dead=1)
    assert kept == [history[:1], history[:2], history[:3], history]
    assert (len(rows(connection, "texts")), len(rows(connection, "text_nodes"))) == (4, 4)


@pytest.mark.usefixtures("poison")
def test_large_dead_letter(connection: sqlite3.Connection, tables: Tables) -> None:
    """A dead letter is bounded, and of a large call it keeps the numbers rather than the words."""
    tables.write(
        [
            call("bad-1", input=noise(1, 100_000), tokens=Tokens(input=7)),
            event("bad-2", attributes="x" * 100_000),
        ],
        [],
        NOW_MS,
    )
    (of_call, of_event) = (str(row["payload"]) for row in rows(connection, "dead_letters"))

    assert json.loads(of_call)["tokens"]["input"] == 7
    assert json.loads(of_call)["input"] is None
    assert len(of_event) == 64 * 1024


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("ALTER TABLE events DROP COLUMN duration_ms", "no column named duration_ms"),
        ("DROP TABLE metrics", "no such table: metrics"),
        ("DROP TABLE meta", "no such table: meta"),
        ("DROP TABLE texts", "no such table"),
    ],
)
def test_wrong_sql(connection: sqlite3.Connection, tables: Tables, damage: str, message: str) -> None:
    """A statement that does not fit the tables is our bug: it escapes, and nothing of the batch is stored."""
    connection.execute(damage)
    with pytest.raises(sqlite3.OperationalError, match=message):
        tables.write([call(input=words("a")), event()], [window()], NOW_MS)

    assert not connection.in_transaction
    assert rows(connection, "llm") == rows(connection, "events") == rows(connection, "dead_letters") == []


def test_wrong_number_of_values(
    connection: sqlite3.Connection, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A statement that wants more values than a row has is our bug, not a reason for dead letters."""
    monkeypatch.setattr(module, "_INSERT_EVENT", "INSERT INTO events (id, name) VALUES (?, ?)")
    with pytest.raises(sqlite3.ProgrammingError, match="Incorrect number of bindings"):
        tables.write([call("a"), event()], [], NOW_MS)

    assert not connection.in_transaction
    assert rows(connection, "llm") == rows(connection, "dead_letters") == []


@pytest.mark.usefixtures("poison")
def test_wrong_sql_beside_refused_row(connection: sqlite3.Connection, tables: Tables) -> None:
    """A bug that shows only once rows are stored one by one escapes as well."""
    connection.execute("DROP TABLE dead_letters")
    with pytest.raises(sqlite3.OperationalError, match="no such table: dead_letters"):
        tables.write([event("a"), event("bad")], [], NOW_MS)

    assert not connection.in_transaction
    assert rows(connection, "events") == []


def test_disk_full(connection: sqlite3.Connection, tables: Tables) -> None:
    """A batch that does not fit the disk is rolled back whole, and stored whole when there is room."""
    tables.write([call("a", input=words(["one"]))], [], NOW_MS)
    (pages,) = column(connection, "PRAGMA page_count")
    connection.execute(f"PRAGMA max_page_count = {pages}")
    histories = [["one", *noise(number, 40_000).parts] for number in range(3)]
    batch = [call(str(number), input=words(history)) for number, history in enumerate(histories)]
    for _ in range(2):
        with pytest.raises(sqlite3.OperationalError, match="full"):
            tables.write(batch, [window("m")], NOW_MS)

        assert not connection.in_transaction
        assert (row_count(connection), meta(connection, "rows_stored")) == (1, 1)
        assert meta(connection, "change_seq") == 1
    connection.execute("PRAGMA max_page_count = 10000")
    outcome = tables.write(batch, [window("m")], NOW_MS)
    kept = [read_text(connection, "list", ref) for (ref,) in connection.execute("SELECT input_ref FROM llm")]

    assert outcome == Outcome(stored=3)
    assert kept == [["one"], *histories]
    assert meta(connection, "rows_stored") == row_count(connection) == 5


def test_words_of_a_batch_rolled_back(connection: sqlite3.Connection, tables: Tables) -> None:
    """Words that were stored before their batch failed are stored again with the next one."""

    def no_metrics(code: int, table: str | None, *_rest: str | None) -> int:
        insert = code == sqlite3.SQLITE_INSERT and table == "metrics"
        return sqlite3.SQLITE_DENY if insert else sqlite3.SQLITE_OK

    connection.set_authorizer(no_metrics)
    with pytest.raises(sqlite3.DatabaseError, match="not authorized"):
        tables.write([call("a", input=words(["one", "two"]))], [window()], NOW_MS)
    connection.set_authorizer(None)
    tables.write([event(), call("b", input=words(["two", "one", "two"]))], [], NOW_MS)
    ((kind, ref),) = connection.execute("SELECT input_kind, input_ref FROM llm")

    assert read_text(connection, kind, ref) == ["two", "one", "two"]


def test_locked(database: Database, tables: Tables) -> None:
    """A database that another connection writes to is waited for, and then tried again by the caller."""
    database.connection.execute("PRAGMA busy_timeout = 0")
    with closing(sqlite3.connect(database.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            tables.write([event("a")], [], NOW_MS)
        other.execute("ROLLBACK")

    assert tables.write([event("a")], [], NOW_MS) == Outcome(stored=1)


def test_words_pruned_by_others(database: Database, tables: Tables) -> None:
    """Words that another process has removed meanwhile are stored again, not taken for there."""
    tables.write([call("a", input=words(["one", "two"]))], [], NOW_MS)
    with closing(sqlite3.connect(database.path)) as other, other:
        for table in ("llm", "text_nodes", "texts"):
            other.execute(f"DELETE FROM {table}")
    tables.write([call("b", input=words(["one", "two"]))], [], NOW_MS)
    ((kind, ref),) = database.connection.execute("SELECT input_kind, input_ref FROM llm")

    assert read_text(database.connection, kind, ref) == ["one", "two"]


_ids: Final = st.sampled_from(["a", "b", "c", "bad-1", "bad-2", None])
_history: Final = st.lists(st.sampled_from("pqr"), min_size=1, max_size=4)
_events: Final = st.one_of(
    st.builds(lambda id_, history: call(id_, input=words(history)), _ids, _history),
    st.builds(event, _ids),
    st.builds(failure, _ids),
)
_windows: Final = st.builds(lambda id_: window(id_ or new_id()), _ids)


@given(batches=st.lists(st.tuples(st.lists(_events, max_size=6), st.lists(_windows, max_size=3)), max_size=4))
def test_laws(batches: list[tuple[list[Stored], list[Window]]]) -> None:
    """Whatever comes, fates add up, rows are counted as SQL counts them, and change numbers only grow."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(connection)
        refuse_bad(connection)
        tables = Tables(connection)
        dead_letters = 0
        newest = 0
        for events, windows in batches:
            known = dict.fromkeys(seqs(connection))
            outcome = tables.write(events, windows, NOW_MS)
            dead_letters += outcome.dead + outcome.dead_windows
            changed = [seq for seq in seqs(connection) if seq not in known]

            assert len(events) == outcome.stored + outcome.repeated + outcome.dead
            assert meta(connection, "rows_stored") == row_count(connection)
            assert len(rows(connection, "dead_letters")) == dead_letters
            assert max(Counter(seqs(connection)).values(), default=1) == 1
            assert all(seq > newest for seq in changed)
            newest = max([newest, *changed])
            assert newest <= meta(connection, "change_seq")
        for kind, ref in connection.execute("SELECT input_kind, input_ref FROM llm"):
            assert read_text(connection, kind, ref)
