"""Reading query parameters. Invariant: any text in, a Query or a named refusal out, nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.views.building import NOW_MS
from trace_agent.core.errors import PeerError, Reason
from trace_agent.views.params import ERRORS, EVENTS, LLM, METRICS, Table, read_call_params, read_query

TABLES = (LLM, EVENTS, ERRORS, METRICS)


def test_nothing_asked_is_the_newest_hundred() -> None:
    """Without parameters a listing has its default limit and no conditions."""
    query = read_query(LLM, {}, NOW_MS)

    assert (query.limit, query.before_row, query.since_ms, query.until_ms, query.equals, query.text) == (
        100, None, None, None, (), None,
    )  # fmt: skip


def test_everything_asked_is_read() -> None:
    """Each parameter finds its place."""
    query = read_query(
        LLM,
        {
            "limit": "7",
            "cursor": "12",
            "agent": "a",
            "kind": "timeout",
            "model": "m",
            "text": "1",
            "sync": "1",
        },
        NOW_MS,
    )

    assert (query.limit, query.before_row, query.text) == (7, 12, True)
    assert set(query.equals) == {("agent", "a"), ("error_kind", "timeout"), ("model", "m")}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("15m", NOW_MS - 15 * 60_000),
        ("24h", NOW_MS - 24 * 3_600_000),
        ("7d", NOW_MS - 7 * 86_400_000),
        ("2w", NOW_MS - 14 * 86_400_000),
        ("30s", NOW_MS - 30_000),
        ("1500ms", NOW_MS - 1500),
        ("999999999w", 0),
        ("0", 0),
        ("1795348800000", NOW_MS),
        ("1.7953488e12", NOW_MS),
        ("1795348800000.5", NOW_MS + 0.5),
        ("2026-11-22T12:00:00Z", NOW_MS),
        ("2026-11-22T13:00:00+01:00", NOW_MS),
        ("2026-11-22T13:00:00 01:00", NOW_MS),
        ("2026-11-22 12:00:00", NOW_MS),
        ("2026-11-22", NOW_MS - 12 * 3_600_000),
    ],
)
def test_moments_are_ages_numbers_or_dates(value: str, expected: float) -> None:
    """`since` and `until` take every form of the contract, also with the `+` that a URL loses."""
    query = read_query(EVENTS, {"since": value, "until": value}, NOW_MS)

    assert (query.since_ms, query.until_ms) == (expected, expected)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("limit", "0"),
        ("limit", "1001"),
        ("limit", "-1"),
        ("limit", "1.5"),
        ("limit", "٣"),
        ("limit", ""),
        ("cursor", ""),
        ("cursor", "-1"),
        ("cursor", "abc"),
        ("cursor", "9" * 19),
        ("since", ""),
        ("since", "yesterday"),
        ("since", "-5"),
        ("since", "1e999"),
        ("until", "15 m"),
        ("until", "nan"),
        ("until", "2026-13-01"),
        ("agent", ""),
        ("text", "yes"),
        ("nonsense", "1"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(name: str, value: str) -> None:
    """The refusal is a bad request that names the parameter."""
    with pytest.raises(PeerError) as caught:
        read_query(LLM, {name: value}, NOW_MS)

    assert caught.value.reason is Reason.BAD_REQUEST
    assert name in caught.value.detail


@pytest.mark.parametrize(("table", "name"), [(EVENTS, "model"), (METRICS, "agent"), (ERRORS, "text")])
def test_filters_of_other_listings_are_refused(table: Table, name: str) -> None:
    """A filter that would match nothing ever is an error, and the answer lists those there are."""
    with pytest.raises(PeerError, match="there are limit, cursor, since, until"):
        read_query(table, {name: "1"}, NOW_MS)


def test_unknown_names_come_back_escaped() -> None:
    """Escape sequences in a parameter's name do not reach the message raw, nor does all of a long name."""
    with pytest.raises(PeerError) as caught:
        read_query(LLM, {"\x1b[31m" + "x" * 500: "1"}, NOW_MS)

    assert "\x1b" not in caught.value.detail
    assert len(caught.value.detail) < 200


@pytest.mark.parametrize(
    ("params", "text"), [({}, True), ({"text": "0"}, False), ({"text": "true"}, True), ({"sync": "1"}, True)]
)
def test_one_call_comes_with_text_unless_told(params: dict[str, str], text: bool) -> None:
    """The single call has its words by default."""
    assert read_call_params(params) is text


def test_one_call_refuses_parameters_of_listings() -> None:
    """`limit` has no meaning for one call."""
    with pytest.raises(PeerError, match="limit"):
        read_call_params({"limit": "1"})


@given(
    st.sampled_from(TABLES),
    st.dictionaries(
        st.one_of(st.sampled_from(sorted({*LLM.parameters, *EVENTS.parameters})), st.text(max_size=10)),
        st.one_of(
            st.text(max_size=40),
            st.from_regex(r"[0-9]{1,25}(ms|s|m|h|d|w)?", fullmatch=True),
            st.datetimes().map(str),
            st.floats().map(str),
        ),
        max_size=6,
    ),
)
def test_any_parameters_are_read_or_refused(table: Table, params: dict[str, str]) -> None:
    """Whatever a stranger asks, nothing but PeerError is raised, and what passes can be bound to SQL."""
    try:
        query = read_query(table, params, NOW_MS)
    except PeerError:
        return

    assert 1 <= query.limit <= 1000
    assert query.before_row is None or 0 <= query.before_row < 2**63
    for moment in (query.since_ms, query.until_ms):
        assert moment is None or 0 <= moment < 2**53
    for _, value in query.equals:
        assert value.encode()
