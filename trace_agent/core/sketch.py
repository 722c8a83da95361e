"""Summaries that stay small and can be merged: numbers in, quantiles out; members in, how many out.

Both are stored as a few bytes beside each metric window, so that wider windows can be made later by
merging narrow ones. Nothing here is exact and everything is repeatable: the same input gives the same
bytes on every machine.

`QuantileSketch` is the idea of DDSketch (Masson, Rim, Lee: "DDSketch: a fast and fully-mergeable
quantile sketch with relative-error guarantees", VLDB 2019). Bucket `i` holds the values in
(g^(i-1), g^i] with g = 1.01/0.99, and answers with the point that is at most 1 % away from both ends.
One dictionary holds all signs: its key is i + `_ZERO` for positive values, minus that for negative ones
and 0 for zero, so the order of the keys is the order of the values.

`Distinct` keeps hashes of the members while they are few, then the registers of HyperLogLog (Flajolet et
al. 2007), read with Ertl's estimator ("New cardinality estimation algorithms for HyperLogLog sketches",
2017), which needs no table of corrections.
"""

import math
import struct
import sys
import zlib
from bisect import bisect_left
from hashlib import blake2b
from itertools import accumulate, pairwise
from math import ceil, log
from typing import Final, Self

__all__ = ["ACCURACY", "Distinct", "QuantileSketch"]

# The relative error of a quantile.
ACCURACY: Final = 0.01
_LOG_BASE: Final = math.log((1 + ACCURACY) / (1 - ACCURACY))
_PER_LOG: Final = 1 / _LOG_BASE
# From the upper end of a bucket to the point it answers with: 2 / (g + 1).
_CENTRE: Final = 1 - ACCURACY
# Doubles end at 1e308, bucket 35,450; one offset keeps positive keys above zero.
_ZERO: Final = 40_000
# Nearer to zero than this counts as zero: below 2e-308 doubles no longer hold 1 %.
_LEAST: Final = 1e-300
_LARGEST_LOG: Final = math.log(sys.float_info.max)
# Ranks come from products such as 0.07 * 100 = 7.000000000000001, which must not ask for the eighth.
_ROUNDING: Final = 1 - 1e-12

_QUANTILE_HEAD: Final = struct.Struct("<2sccHidd")
_GAP_CODES: Final = (b"B", b"H", b"I")
_WEIGHT_CODES: Final = (b"B", b"H", b"I", b"d")
_CHECKSUM: Final = struct.Struct("<I")

# 2^12 registers: 4 KiB, standard error 1.04 / sqrt(4096) = 1.6 %.
_INDEX_BITS: Final = 12
_REGISTERS: Final = 1 << _INDEX_BITS
_RANK_BITS: Final = 64 - _INDEX_BITS


class QuantileSketch:
    """Quantiles of weighted numbers with a relative error of at most `ACCURACY`.

    Costs about 100 bytes per bucket in use. When more than `limit` are, the lowest are merged: quantiles
    that lie there come out too high, the upper ones keep their accuracy.

    Attributes:
        count: sum of the weights.
        min: the least value, exact; infinity when empty.
        max: the greatest value, exact; minus infinity when empty.
    """

    __slots__ = ("_buckets", "_limit", "count", "max", "min")

    def __init__(self, limit: int = 1024) -> None:
        self._limit = limit
        self._buckets: dict[int, float] = {}
        self.count = 0.0
        self.min = math.inf
        self.max = -math.inf

    def add(self, value: float, weight: float = 1) -> None:
        """Count a finite `value` as `weight` equal ones; the weight must be above zero."""
        if value > _LEAST:
            key = ceil(log(value) * _PER_LOG) + _ZERO
        elif value < -_LEAST:
            key = -ceil(log(-value) * _PER_LOG) - _ZERO
        else:
            key = 0
        buckets = self._buckets
        if key in buckets:
            buckets[key] += weight
        else:
            buckets[key] = weight
            if len(buckets) > self._limit:
                self._collapse()
        self.count += weight
        if value < self.min:  # noqa: PLR1730 - min() would cost a quarter of the whole call
            self.min = value
        if value > self.max:  # noqa: PLR1730
            self.max = value

    def quantile(self, rank: float) -> float | None:
        """Return the least value with at least the share `rank` (0 to 1) at or below it; None when empty."""
        values = self.quantiles(rank)
        return values[0] if values else None

    def quantiles(self, *ranks: float) -> list[float]:
        """Return the quantile for each of `ranks`; an empty list when the sketch is empty.

        Raises:
            ValueError: a rank is not between 0 and 1.
        """
        if not all(0 <= rank <= 1 for rank in ranks):
            raise ValueError("a rank lies between 0 and 1")
        if not self._buckets:
            return []
        keys = sorted(self._buckets)
        reached = list(accumulate([self._buckets[key] for key in keys]))
        total = reached[-1] * _ROUNDING
        return [
            min(max(_value_of(keys[bisect_left(reached, rank * total)]), self.min), self.max)
            for rank in ranks
        ]

    def merge(self, other: "QuantileSketch") -> None:
        """Add everything that `other` has counted."""
        buckets = self._buckets
        for key, weight in other._buckets.items():  # noqa: SLF001 - of our own class
            buckets[key] = buckets.get(key, 0) + weight
        if len(buckets) > self._limit:
            self._collapse()
        self.count += other.count
        self.min = min(self.min, other.min)
        self.max = max(self.max, other.max)

    def to_bytes(self) -> bytes:
        """Return the sketch as bytes: 30 and, as a rule, two per bucket."""
        keys = sorted(self._buckets)
        weights = [self._buckets[key] for key in keys]
        whole = [int(weight) for weight in weights]
        gap_code, gaps = _pack([upper - lower for lower, upper in pairwise(keys)], _GAP_CODES)
        weight_code, packed = _pack(whole if whole == weights else weights, _WEIGHT_CODES)
        first = keys[0] if keys else 0
        head = _QUANTILE_HEAD.pack(b"Q1", gap_code, weight_code, len(keys), first, self.min, self.max)
        return _sealed(head + gaps + packed)

    @classmethod
    def from_bytes(cls, data: bytes, limit: int = 1024) -> Self:
        """Read what `to_bytes` wrote.

        Raises:
            ValueError: the bytes are damaged, or of another kind or version.
        """
        body = _unsealed(data)
        try:
            magic, gap_code, weight_code, size, key, least, greatest = _QUANTILE_HEAD.unpack_from(body)
            if magic != b"Q1" or gap_code not in _GAP_CODES or weight_code not in _WEIGHT_CODES:
                raise ValueError("not a quantile sketch")
            layout = struct.Struct(f"<{max(size - 1, 0)}{gap_code.decode()}{size}{weight_code.decode()}")
            numbers = layout.unpack(body[_QUANTILE_HEAD.size :])
        except struct.error:
            raise ValueError("a quantile sketch of a wrong length") from None
        weights = numbers[max(size - 1, 0) :]
        keys = list(accumulate(numbers[: max(size - 1, 0)], initial=key))[:size]
        if not all(0 < weight < math.inf for weight in weights) or len(set(keys)) != size:
            raise ValueError("a quantile sketch with impossible buckets")
        if any(abs(key) > 2 * _ZERO for key in keys) or (
            size and not -math.inf < least <= greatest < math.inf
        ):
            raise ValueError("a quantile sketch with impossible bounds")
        sketch = cls(limit)
        if not size:
            return sketch
        sketch._buckets = dict(zip(keys, weights, strict=True))
        sketch.count = sum(weights)
        sketch.min = least
        sketch.max = greatest
        if size > limit:
            sketch._collapse()
        return sketch

    def _collapse(self) -> None:
        # An eighth of the room is made at once, so that sorting is paid once for many new buckets.
        keys = sorted(self._buckets)
        floor = keys[len(keys) - max(self._limit * 7 // 8, 1)]
        buckets = self._buckets
        buckets[floor] += sum(buckets.pop(key) for key in keys if key < floor)


class Distinct:
    """How many different members there are: exact up to `exact` of them, then within a few per cent.

    Costs about 70 bytes per member while exact, 4 KiB afterwards.
    """

    __slots__ = ("_exact", "_hashes", "_registers")

    def __init__(self, exact: int = 128) -> None:
        self._exact = exact
        self._hashes: set[int] = set()
        self._registers: bytearray | None = None

    def add(self, member: str) -> None:
        """Count `member` unless it has been."""
        # Python's own hash() differs from run to run, and these are merged across runs.
        digest = blake2b(member.encode(errors="surrogatepass"), digest_size=8).digest()
        self._add_hash(int.from_bytes(digest, "little"))

    def count(self) -> int:
        """Return how many different members were added."""
        return len(self._hashes) if self._registers is None else round(_estimate(self._registers))

    def merge(self, other: "Distinct") -> None:
        """Add everything that `other` has counted."""
        theirs = other._registers  # noqa: SLF001 - of our own class
        if theirs is None:
            for number in other._hashes:  # noqa: SLF001
                self._add_hash(number)
            return
        ours = self._registers or self._dense()
        self._registers = bytearray(map(max, ours, theirs))

    def to_bytes(self) -> bytes:
        """Return the counter as bytes: 8 per member while exact, about 2.5 kB afterwards."""
        if self._registers is None:
            return _sealed(b"D1" + struct.pack(f"<{len(self._hashes)}Q", *sorted(self._hashes)))
        return _sealed(b"H1" + zlib.compress(self._registers, 1))

    @classmethod
    def from_bytes(cls, data: bytes, exact: int = 128) -> Self:
        """Read what `to_bytes` wrote.

        Raises:
            ValueError: the bytes are damaged, or of another kind or version.
        """
        body = _unsealed(data)
        counter = cls(exact)
        if body[:2] == b"D1" and len(body) % 8 == 2:
            for (number,) in struct.iter_unpack("<Q", body[2:]):
                counter._add_hash(number)
            return counter
        if body[:2] != b"H1":
            raise ValueError("not a distinct counter")
        inflate = zlib.decompressobj()
        try:
            registers = inflate.decompress(body[2:], _REGISTERS + 1)
        except zlib.error:
            raise ValueError("a distinct counter that cannot be read") from None
        if len(registers) != _REGISTERS or max(registers) > _RANK_BITS + 1:
            raise ValueError("a distinct counter with impossible registers")
        counter._hashes = set()
        counter._registers = bytearray(registers)
        return counter

    def _add_hash(self, number: int) -> None:
        if self._registers is not None:
            _register(self._registers, number)
            return
        self._hashes.add(number)
        if len(self._hashes) > self._exact:
            self._registers = self._dense()

    def _dense(self) -> bytearray:
        registers = bytearray(_REGISTERS)
        for number in self._hashes:
            _register(registers, number)
        self._hashes = set()
        return registers


def _value_of(key: int) -> float:
    if not key:
        return 0.0
    # The bucket of the greatest doubles ends beyond them.
    size = math.exp(min((abs(key) - _ZERO) * _LOG_BASE, _LARGEST_LOG)) * _CENTRE
    return size if key > 0 else -size


def _pack(numbers: list[int] | list[float], codes: tuple[bytes, ...]) -> tuple[bytes, bytes]:
    """Pack `numbers` by the first (narrowest) of the struct `codes` that holds them all."""
    for code in codes[:-1]:
        try:
            return code, struct.pack(f"<{len(numbers)}{code.decode()}", *numbers)
        except struct.error:  # one of them is too large, or no whole number
            continue
    return codes[-1], struct.pack(f"<{len(numbers)}{codes[-1].decode()}", *numbers)


def _sealed(body: bytes) -> bytes:
    return body + _CHECKSUM.pack(zlib.crc32(body))


def _unsealed(data: bytes) -> bytes:
    body = data[: -_CHECKSUM.size]
    if len(data) < _CHECKSUM.size or data[len(body) :] != _CHECKSUM.pack(zlib.crc32(body)):
        raise ValueError("the checksum is wrong")
    return body


def _register(registers: bytearray, number: int) -> None:
    index = number & (_REGISTERS - 1)
    rank = _RANK_BITS + 1 - (number >> _INDEX_BITS).bit_length()
    registers[index] = max(registers[index], rank)


def _estimate(registers: bytearray) -> float:
    """Return Ertl's estimate (2017, algorithm 6) of how many hashes filled the registers.

    Its correction of the upper end is left out: it matters near 2^64 members.
    """
    total = 0.0
    for rank in range(_RANK_BITS + 1, 0, -1):
        total = 0.5 * (total + registers.count(rank))
    total += _REGISTERS * _sigma(registers.count(0) / _REGISTERS)
    return _REGISTERS * _REGISTERS / (2 * math.log(2) * total)


def _sigma(share: float) -> float:
    """Return the sum of `share`^(2^k) * 2^(k-1) over all k from 1, and `share`."""
    if share == 1:
        return math.inf
    power, factor, total, before = share, 1.0, share, -1.0
    while total != before:
        power *= power
        before = total
        total += power * factor
        factor += factor
    return total
