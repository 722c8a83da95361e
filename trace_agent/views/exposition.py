"""Write the Prometheus text format, version 0.0.4: families of samples in, text out.

Source: prometheus.io/docs/instrumenting/exposition_formats. Rules that `promtool check metrics` looks
at are kept by whoever names the families.
"""

import math
import re
from collections.abc import Iterable, Mapping
from typing import Final, Literal

from attrs import Factory, define, frozen

__all__ = ["CONTENT_TYPE", "Family", "FamilyType", "Sample", "label_name", "metric_name", "render"]

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

FamilyType = Literal["counter", "gauge", "summary"]

# The old, safe alphabet: UTF-8 names need another format version, and colons belong to recording rules.
_FOREIGN: Final = re.compile(r"[^a-zA-Z0-9_]")
_VALUE_ESCAPES: Final = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})
_HELP_ESCAPES: Final = str.maketrans({"\\": r"\\", "\n": r"\n"})


@frozen
class Sample:
    """One line.

    Attributes:
        value: NaN and infinities are allowed.
        labels: valid names, any values.
        suffix: `_sum` and `_count` of a summary.
    """

    value: float
    labels: Mapping[str, str] = Factory(dict)
    suffix: str = ""


@define
class Family:
    """Samples of one name and type, which must stand together.

    Attributes:
        help: a sentence; line ends and backslashes are escaped here.
    """

    name: str
    type: FamilyType
    help: str
    samples: list[Sample] = Factory(list)

    def add(self, value: float | None, /, suffix: str = "", **labels: str) -> None:
        """Add a sample, unless its value is not known."""
        if value is not None:
            self.samples.append(Sample(value, labels, suffix))


def metric_name(text: str) -> str:
    """Return `text` as a valid metric name."""
    name = _FOREIGN.sub("_", text)
    return f"_{name}" if not name or name[0].isdigit() else name


def label_name(text: str) -> str:
    """Return `text` as a valid label name that Prometheus does not reserve (those start with `__`)."""
    name = _FOREIGN.sub("_", text)
    if name.startswith("__"):
        name = name.lstrip("_")
    return f"_{name}" if not name or name[0].isdigit() else name


def render(families: Iterable[Family]) -> str:
    """Write families in their order; one without samples is left out."""
    lines: list[str] = []
    for family in families:
        if not family.samples:
            continue
        lines.append(f"# HELP {family.name} {family.help.translate(_HELP_ESCAPES)}\n")
        lines.append(f"# TYPE {family.name} {family.type}\n")
        lines.extend(
            f"{family.name}{sample.suffix}{_labels(sample.labels)} {_number(sample.value)}\n"
            for sample in family.samples
        )
    return "".join(lines)


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    pairs = (f'{name}="{value.translate(_VALUE_ESCAPES)}"' for name, value in labels.items())
    return f"{{{','.join(pairs)}}}"


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(int(value)) if value == int(value) and abs(value) < 2**53 else repr(value)
