"""The Prometheus text format, read back by the ecosystem's own parser."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from trace_agent.views.exposition import Family, label_name, metric_name, render

NAME = r"[a-zA-Z_][a-zA-Z0-9_]*"


def parsed(text: str) -> dict[str, list[tuple[dict[str, str], float]]]:
    """Return samples by the name on their line."""
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def test_a_family_has_help_type_and_samples() -> None:
    """Help and type come once, before the samples."""
    family = Family("hits_total", "counter", "What was hit.")
    family.add(3, kind="a")
    family.add(2.5, kind="b")

    assert render([family]) == (
        "# HELP hits_total What was hit.\n"
        "# TYPE hits_total counter\n"
        'hits_total{kind="a"} 3\n'
        'hits_total{kind="b"} 2.5\n'
    )


def test_families_without_samples_are_left_out() -> None:
    """A value that is not known makes no sample, and a family of none makes no lines."""
    family = Family("size_bytes", "gauge", "Size.")
    family.add(None)

    assert render([family]) == ""


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (0, "0"), (1.0, "1"), (-2.5, "-2.5"), (2**53 * 4.0, "3.602879701896397e+16"), (1e300, "1e+300"),
        (math.inf, "+Inf"), (-math.inf, "-Inf"), (math.nan, "NaN"), (True, "1"),
    ],
)  # fmt: skip
def test_numbers_are_written_as_prometheus_reads_them(value: float, word: str) -> None:
    """Whole numbers are short, and the three that are no numbers have their own words."""
    family = Family("x", "gauge", "X.")
    family.add(value)

    assert render([family]).splitlines()[-1] == f"x {word}"


@given(st.text(max_size=30), st.text(max_size=30), st.floats())
def test_any_help_and_label_comes_back(help_text: str, label: str, value: float) -> None:
    """Whatever is in a label or a help text, the parser sees one sample with that label."""
    family = Family("x", "gauge", help_text)
    family.add(value, word=label)
    ((labels, number),) = parsed(render([family]))["x"]

    assert labels == {"word": label}
    assert number == value or (math.isnan(number) and math.isnan(value))


@given(st.text(max_size=20))
def test_any_text_makes_valid_names(text: str) -> None:
    """Names have Prometheus' alphabet; those of labels are none it reserves."""
    import re  # noqa: PLC0415 - for this assertion only

    assert re.fullmatch(NAME, metric_name(text))
    assert re.fullmatch(NAME, label_name(text))
    assert not label_name(text).startswith("__")
