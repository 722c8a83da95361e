"""Check what fuzzing leaves behind: lists and metrics can still be read, the log has no traceback."""

import json
import math

from bench.client import Client

__all__ = ["broken_reads", "describe"]

_PAGES = 30


def broken_reads(client: Client) -> list[str]:
    """Read a few thousand rows of every list, and `/metrics`; return what is wrong with the answers."""
    problems = []
    for route in ("traces", "events", "errors", "metrics"):
        path: str | None = f"/v1/{route}?limit=1000"
        for page in range(_PAGES):
            if path is None:
                break
            try:
                answer = client.get(path)
            except OSError as error:
                problems.append(f"GET {path}, page {page}: {type(error).__name__}: {error}")
                break
            if answer.status != 200:
                problems.append(f"GET {path}: {answer.status} {answer.body[:300]!r}")
                break
            try:
                body = json.loads(answer.body.decode(), parse_constant=_no_number)
            except ValueError as error:
                problems.append(f"GET {path}, page {page}: no strict JSON: {error}")
                break
            cursor = body["next"]
            path = None if cursor is None else f"/v1/{route}?limit=1000&cursor={cursor}"
    answer = client.get("/metrics")
    if answer.status != 200:
        return [*problems, f"GET /metrics: {answer.status} {answer.body[:300]!r}"]
    return problems + _broken_exposition(answer.body.decode())


def describe(log: str) -> list[str]:
    """Return what in a log says that trace-agent met a bug of its own."""
    if "Traceback" not in log:
        return []
    # The last one is the innermost of a group of exceptions, so the cause.
    return [f"a traceback in its log:\n{log[log.rindex('Traceback') :][:6000]}"]


def _broken_exposition(text: str) -> list[str]:
    """Find samples that stand twice or have no number (Prometheus text format 0.0.4)."""
    seen, problems = set(), []
    for line in text.split("\n"):  # a line ends at a line feed and nothing else
        if not line or line.startswith("#"):
            continue
        series, _, value = line.rpartition(" ")
        if series in seen:
            problems.append(f"/metrics: twice: {series[:200]}")
        seen.add(series)
        try:
            float(value)
        except ValueError:
            problems.append(f"/metrics: no number: {line[:200]}")
        else:
            if math.isnan(float(value)):
                problems.append(f"/metrics: NaN: {line[:200]}")
    return problems[:10]


def _no_number(word: str) -> object:
    raise ValueError(f"{word} is no JSON")
