"""Sketches answer within their accuracy, merge to what one sketch of everything would be, and survive bytes.

Invariants: every quantile lies within 1 % of the exact one; any bytes give a sketch or a ValueError.
"""

import math
import struct
import zlib
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trace_agent.core.sketch import ACCURACY, Distinct, QuantileSketch

values = st.floats(min_value=-1e290, max_value=1e290).map(lambda value: 0.0 if abs(value) < 1e-290 else value)
weights = st.one_of(st.integers(1, 1_000_000), st.sampled_from([1 / 0.3, 2.5, 1e-3]))
samples = st.lists(st.tuples(values, weights), min_size=1, max_size=60)
ranks = st.one_of(st.sampled_from([0.0, 0.5, 0.95, 0.99, 1.0]), st.floats(0, 1))


def sketch_of(pairs: Sequence[tuple[float, float]], limit: int = 1024) -> QuantileSketch:
    """Return a sketch of (value, weight) pairs."""
    sketch = QuantileSketch(limit)
    for value, weight in pairs:
        sketch.add(value, weight)
    return sketch


def distinct_of(members: Sequence[str], exact: int = 128) -> Distinct:
    """Return a counter of the members."""
    counter = Distinct(exact)
    for member in members:
        counter.add(member)
    return counter


def sealed(body: bytes) -> bytes:
    """Return what passes for undamaged bytes."""
    return body + struct.pack("<I", zlib.crc32(body))


def is_close(expected: float, actual: float | None) -> bool:
    """Tell whether `actual` is within the accuracy of a sketch."""
    return actual is not None and math.isclose(expected, actual, rel_tol=ACCURACY * 1.0001)


@given(samples, ranks)
def test_quantile_is_accurate(pairs: list[tuple[float, float]], rank: float) -> None:
    """A quantile is within 1 % of the least value that has the share at or below it."""
    ordered = sorted(pairs)
    total = math.fsum(weight for _, weight in ordered)
    reached = 0.0
    candidates = []
    for value, weight in ordered:
        reached += weight
        # Sums of weights are rounded, so a rank that falls on the border may take either side.
        if math.isclose(reached, rank * total, rel_tol=1e-9):
            candidates.append(value)
        elif reached > rank * total:
            candidates.append(value)
            break

    assert any(is_close(value, sketch_of(pairs).quantile(rank)) for value in candidates)


def test_quantiles_of_whole_numbers() -> None:
    """The median of 1 to 100 is 50, its 95th and 99th percentiles are 95 and 99."""
    sketch = sketch_of([(float(value), 1) for value in range(1, 101)])
    p50, p95, p99 = sketch.quantiles(0.5, 0.95, 0.99)

    assert is_close(50, p50)
    assert is_close(95, p95)
    assert is_close(99, p99)
    assert is_close(7, sketch.quantile(0.07))  # although 0.07 * 100 is a little more than 7
    assert (sketch.count, sketch.min, sketch.max) == (100, 1.0, 100.0)


def test_single_value_is_exact() -> None:
    """A window with one value has that value as each of its quantiles."""
    assert sketch_of([(320.0, 1)]).quantiles(0.5, 0.95, 0.99) == [320.0] * 3


def test_weights_count() -> None:
    """A value of weight 99 beside one of weight 1 holds all quantiles up to the 99th."""
    sketch = sketch_of([(10.0, 99), (1000.0, 1)])

    assert is_close(10, sketch.quantile(0.99))
    assert is_close(1000, sketch.quantile(0.995))


def test_empty_has_no_quantile() -> None:
    """An empty sketch has no quantile, before and after it was bytes."""
    restored = QuantileSketch.from_bytes(QuantileSketch().to_bytes())

    assert restored.quantile(0.5) is None
    assert (0, math.inf, -math.inf) == (restored.count, restored.min, restored.max)


@pytest.mark.parametrize("rank", [-0.1, 1.1, math.nan])
def test_rank_must_be_a_share(rank: float) -> None:
    """A rank outside 0 to 1 is a mistake of ours."""
    with pytest.raises(ValueError, match="rank"):
        sketch_of([(1.0, 1)]).quantile(rank)


@pytest.mark.parametrize("value", [1.7e308, -1.7e308, 5e-324, -5e-324])
def test_ends_of_doubles(value: float) -> None:
    """The greatest and least doubles neither overflow nor fail."""
    sketch = sketch_of([(value, 1), (1.0, 1), (-1.0, 1)])

    assert all(math.isfinite(quantile) for quantile in sketch.quantiles(0, 0.3, 0.5, 0.9, 1))


@given(samples, samples)
def test_merge_equals_one_sketch(left: list[tuple[float, float]], right: list[tuple[float, float]]) -> None:
    """Merging answers like one sketch that has seen both."""
    merged = sketch_of(left)
    merged.merge(sketch_of(right))
    whole = sketch_of(left + right)

    assert math.isclose(whole.count, merged.count)
    assert (whole.min, whole.max) == (merged.min, merged.max)
    assert whole.quantiles(0, 1) == merged.quantiles(0, 1)


@given(st.lists(st.tuples(values, st.integers(1, 2**40))), st.lists(st.tuples(values, st.integers(1, 9))))
def test_merge_is_exact_for_whole_weights(
    left: list[tuple[float, int]], right: list[tuple[float, int]]
) -> None:
    """With whole weights a merged sketch has the very bytes of one that has seen both."""
    merged = sketch_of(left)
    merged.merge(sketch_of(right))

    assert sketch_of(left + right).to_bytes() == merged.to_bytes()


def test_lowest_buckets_collapse() -> None:
    """Beyond the limit the low end gets coarse, the upper quantiles stay accurate and the size bounded."""
    numbers = [1.03**power for power in range(-3000, 3000)]
    sketch = sketch_of([(number, 1) for number in numbers], limit=400)

    assert is_close(numbers[5939], sketch.quantile(0.99))
    assert is_close(numbers[5699], sketch.quantile(0.95))
    assert (sketch.count, sketch.min) == (len(numbers), numbers[0])
    assert len(sketch.to_bytes()) < 30 + 400 * 3


def test_collapse_after_lower_values() -> None:
    """Values that come below a collapsed bucket lose neither count nor minimum."""
    sketch = sketch_of([(1.03**power, 1) for power in range(20)], limit=8)
    sketch.add(1e-9, 5)
    sketch.add(-3.0, 2)

    assert (sketch.count, sketch.min) == (27, -3.0)
    assert is_close(1.03**19, sketch.quantile(1))


def test_merge_keeps_to_the_limit() -> None:
    """Merging a large sketch into a small one collapses what is too much."""
    small = QuantileSketch(limit=8)
    small.merge(sketch_of([(1.03**power, 1) for power in range(100)]))

    assert len(small.to_bytes()) <= 30 + 8 * 2
    assert is_close(1.03**98, small.quantile(0.99))


@given(samples, st.integers(1, 12))
def test_collapsed_keeps_the_top(pairs: list[tuple[float, float]], limit: int) -> None:
    """Whatever is collapsed or merged, count, least and greatest value stay."""
    sketch = sketch_of(pairs, limit)
    sketch.merge(sketch_of(pairs))
    restored = QuantileSketch.from_bytes(sketch.to_bytes(), limit)

    assert math.isclose(2 * math.fsum(weight for _, weight in pairs), restored.count)
    assert restored.min == min(value for value, _ in pairs)
    assert restored.max == max(value for value, _ in pairs)
    assert is_close(restored.max, restored.quantile(1))


def test_from_bytes_keeps_to_its_limit() -> None:
    """A sketch of many buckets that is read into a smaller one is collapsed."""
    large = sketch_of([(1.03**power, 1) for power in range(100)])
    small = QuantileSketch.from_bytes(large.to_bytes(), limit=16)

    assert is_close(1.03**98, small.quantile(0.99))
    assert len(small.to_bytes()) <= 30 + 16 * 2


@given(samples)
def test_bytes_round_trip(pairs: list[tuple[float, float]]) -> None:
    """Bytes give back an equal sketch, of which the bytes are the same."""
    sketch = sketch_of(pairs)
    restored = QuantileSketch.from_bytes(sketch.to_bytes())

    assert sketch.to_bytes() == restored.to_bytes()
    assert sketch.quantiles(0, 0.5, 0.99) == restored.quantiles(0, 0.5, 0.99)
    assert math.isclose(sketch.count, restored.count)


def test_bytes_are_compact() -> None:
    """Fifty timings of one window take 30 bytes and two for each bucket."""
    sketch = sketch_of([(1.05**power, 3) for power in range(50)])

    assert len(sketch.to_bytes()) <= 30 + 2 * 50


@pytest.mark.parametrize(
    "data",
    [
        sketch_of([(1.0, 1), (5.0, 300), (-2.0, 1 / 3)]).to_bytes(),
        distinct_of(["a", "b", "c"]).to_bytes(),
        distinct_of([f"user-{number}" for number in range(300)]).to_bytes(),
    ],
    ids=["quantiles", "few members", "many members"],
)
def test_damage_is_refused(data: bytes) -> None:
    """A bit turned, an end lost or a byte too many never goes unseen."""
    damaged = [bytes([*data[:at], data[at] ^ 1, *data[at + 1 :]]) for at in range(len(data))]
    damaged += [data[:end] for end in range(0, len(data), 7)]
    damaged += [data + b"\0"]

    for each in damaged:
        for kind in (QuantileSketch, Distinct):
            with pytest.raises(ValueError, match="checksum"):
                kind.from_bytes(each)


@given(st.binary(max_size=80), st.sampled_from([b"", b"Q1BB", b"Q1Bd", b"D1", b"H1"]))
def test_any_bytes_are_a_sketch_or_refused(noise: bytes, head: bytes) -> None:
    """Even with a right checksum, bytes are read or refused as ValueError."""
    for kind in (QuantileSketch, Distinct):
        try:
            sketch = kind.from_bytes(sealed(head + noise))
        except ValueError:
            continue

        assert kind.from_bytes(sketch.to_bytes()).to_bytes() == sketch.to_bytes()


HEAD = struct.Struct("<2sccHidd")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        HEAD.pack(b"Q2", b"B", b"B", 0, 0, 0, 0),
        HEAD.pack(b"Q1", b"x", b"B", 0, 0, 0, 0),
        HEAD.pack(b"Q1", b"B", b"?", 0, 0, 0, 0),
        HEAD.pack(b"Q1", b"B", b"B", 2, 40_000, 1, 2) + b"\1\1",
        HEAD.pack(b"Q1", b"B", b"B", 2, 40_000, 1, 2) + b"\0\1\1",
        HEAD.pack(b"Q1", b"B", b"B", 1, 40_000, 1, 2) + b"\0",
        HEAD.pack(b"Q1", b"B", b"d", 1, 40_000, 1, 2) + struct.pack("<d", math.nan),
        HEAD.pack(b"Q1", b"B", b"B", 1, 90_000, 1, 2) + b"\1",
        HEAD.pack(b"Q1", b"B", b"B", 1, 40_000, 2, 1) + b"\1",
        HEAD.pack(b"Q1", b"B", b"B", 1, 40_000, math.nan, 1) + b"\1",
        HEAD.pack(b"Q1", b"B", b"B", 1, 40_000, 1, math.inf) + b"\1",
    ],
)
def test_forged_quantiles_are_refused(body: bytes) -> None:
    """Versions, codes, lengths, weights and bounds that no sketch has are refused."""
    with pytest.raises(ValueError, match="sketch"):
        QuantileSketch.from_bytes(sealed(body))


@pytest.mark.parametrize(
    "body",
    [
        b"X1",
        b"D1" + bytes(7),
        b"H1" + bytes(9),
        b"H1" + zlib.compress(bytes(4095)),
        b"H1" + zlib.compress(bytes(10_000_000)),
        b"H1" + zlib.compress(bytes([54]) * 4096),
    ],
)
def test_forged_members_are_refused(body: bytes) -> None:
    """Unknown kinds, broken lengths, bombs and registers no hash can reach are refused."""
    with pytest.raises(ValueError, match="distinct counter"):
        Distinct.from_bytes(sealed(body))


@pytest.mark.parametrize(("register", "least", "most"), [(0, 0, 0), (1, 4_000, 7_000), (53, 2**60, 2**70)])
def test_extreme_registers(register: int, least: int, most: int) -> None:
    """Registers that are all empty, all at their first step or all full still give a number."""
    counter = Distinct.from_bytes(sealed(b"H1" + zlib.compress(bytes([register]) * 4096)))

    assert least <= counter.count() <= most


def test_few_members_are_exact() -> None:
    """Up to the bound, repeated members count once and the answer is exact."""
    members = [f"user-{number}" for number in range(128)]

    assert distinct_of(members + members).count() == 128


@pytest.mark.parametrize("size", [129, 500, 4_000, 12_000, 60_000])
def test_many_members_are_estimated(size: int) -> None:
    """Beyond the bound the answer is within 5 %, three times the standard error."""
    counter = distinct_of([f"user-{number}" for number in range(size)])

    assert math.isclose(size, counter.count(), rel_tol=0.05)


def test_hashing_is_the_same_everywhere() -> None:
    """The stored bytes of a set depend on nothing but its members, so they merge across runs and machines."""
    body = distinct_of(["alice", "42", "caf\u00e9", "\ud800"]).to_bytes()

    assert body.hex() == ("44314208783e927d0d6857b43cf02666687a4deaec0cce54da895777a2bd3192d7e37c43ec2d")


@given(
    st.lists(st.integers(0, 300).map(str)),
    st.lists(st.integers(0, 300).map(str)),
    st.integers(1, 200),
    st.integers(1, 200),
)
def test_merged_members_are_the_union(left: list[str], right: list[str], exact: int, other: int) -> None:
    """Merging, in whatever form both are, counts the union as one counter would."""
    merged = distinct_of(left, exact)
    merged.merge(distinct_of(right, other))
    union = set(left) | set(right)
    restored = Distinct.from_bytes(merged.to_bytes(), exact)

    assert merged.count() == restored.count()
    assert merged.to_bytes() == restored.to_bytes()
    if len(union) <= min(exact, other):
        assert merged.count() == len(union)
    else:
        assert math.isclose(len(union), merged.count(), rel_tol=0.15, abs_tol=2)


def test_dense_merges_into_dense() -> None:
    """Two estimated counters merge to exactly the estimate of their union."""
    left = distinct_of([str(number) for number in range(1000)])
    left.merge(distinct_of([str(number) for number in range(500, 2000)]))

    assert left.to_bytes() == distinct_of([str(number) for number in range(2000)]).to_bytes()
