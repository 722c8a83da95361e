"""The table of dialects hangs together: no row is hidden by those above it, no count is out of reach."""

import pytest

from trace_agent.core.usage_shapes import SHAPES, Shape


@pytest.mark.parametrize("rank", range(len(SHAPES)))
def test_no_dialect_is_hidden(rank: int) -> None:
    """Each row knows objects that no row above it takes."""
    above = {mark for shape in SHAPES[:rank] for mark in shape.marks}

    assert set(SHAPES[rank].marks) - above


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.marks[0])
def test_every_dialect_counts(shape: Shape) -> None:
    """Each row finds input and output, and names each path once in its list."""
    lists = (
        shape.input,
        shape.output,
        shape.input_beside,
        shape.cache_read,
        shape.cache_write,
        shape.cache_write_5m,
        shape.cache_write_1h,
        shape.reasoning,
        shape.total,
    )
    told = [path for paths in lists for path in paths]

    assert shape.input
    assert shape.output
    assert len(told) == len(set(told))
