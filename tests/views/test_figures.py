"""The third law: rows stored = acked + pending + pruned, counted by SQL."""

from tests.views.building import NOW_MS, StoreBuilder
from trace_agent.views.figures import StoreFigures, UpstreamFigures, read_figures
from trace_agent.views.readonly import snapshot


def figures(store: StoreBuilder) -> StoreFigures:
    """Count what is there."""
    with snapshot(store.path) as connection:
        return read_figures(connection)


def test_an_empty_store_is_all_zero(store: StoreBuilder) -> None:
    """Nothing stored is nothing pending, and the law holds."""
    found = figures(store)

    assert (found.stored, found.acked, found.pending, found.pruned, found.dead_letters) == (0, 0, 0, 0, 0)
    assert found.tables == {"llm": 0, "events": 0, "errors": 0, "metrics": 0}
    assert (dict(found.newest_ms), found.law_holds) == ({}, True)


def test_without_upstream_all_rows_are_pending(store: StoreBuilder) -> None:
    """Nobody has taken anything, whatever table it is in."""
    store.call()
    store.event(received_ms=NOW_MS - 5)
    store.event(received_ms=NOW_MS - 3)
    store.metric()
    found = figures(store)

    assert (found.stored, found.acked, found.pending) == (4, 0, 4)
    assert found.newest_ms == {"llm": NOW_MS, "events": NOW_MS - 3, "metrics": NOW_MS}
    assert found.law_holds


def test_a_row_is_acked_when_every_upstream_has_it(store: StoreBuilder) -> None:
    """The slowest upstream decides, and each has its own backlog."""
    for _ in range(5):
        store.call()
    store.connection.execute("INSERT INTO upstreams VALUES ('fast', 4), ('slow', 2)")
    found = figures(store)

    assert (found.acked, found.pending, found.law_holds) == (2, 3, True)
    assert found.upstreams == (UpstreamFigures("fast", 4, 1), UpstreamFigures("slow", 2, 3))
    assert found.upstreams_json() == [
        {"name": "fast", "acked_seq": 4, "pending": 1},
        {"name": "slow", "acked_seq": 2, "pending": 3},
    ]


def test_a_changed_row_is_pending_again(store: StoreBuilder) -> None:
    """A row acked and then changed has a later change number, and counts as pending."""
    store.call(id="a")
    store.call(id="b")
    store.connection.execute("INSERT INTO upstreams VALUES ('up', 2)")
    before = figures(store)
    store.connection.execute("UPDATE llm SET change_seq = 3, rev = 2 WHERE id = 'a'")
    after = figures(store)

    assert (before.acked, before.pending) == (2, 0)
    assert (after.acked, after.pending, after.law_holds) == (1, 1, True)


def test_pruned_rows_are_counted_and_missed_when_they_are_not(store: StoreBuilder) -> None:
    """Rows are counted as pruned whoever deletes them; what goes missing otherwise breaks the law."""
    for _ in range(3):
        store.event()
    store.connection.execute("DELETE FROM events WHERE row = 1")
    counted = figures(store)
    store.connection.execute("DROP TRIGGER events_deleted")
    store.connection.execute("DELETE FROM events WHERE row = 2")
    behind = figures(store)

    assert (behind.law_holds, counted.law_holds) == (False, True)
    assert counted.rows_json() == {
        "stored": 3, "acked": 0, "pending": 2, "pruned": 1,
        "tables": {"llm": 0, "events": 2, "errors": 0, "metrics": 0},
    }  # fmt: skip


def test_dead_letters_are_counted(store: StoreBuilder) -> None:
    """What SQLite would not take is seen."""
    store.connection.execute(
        "INSERT INTO dead_letters (received_ms, origin, type, id, reason, payload)"
        " VALUES (1, 'store', 'event', 'x', 'r', '{}')"
    )

    assert figures(store).dead_letters == 1
