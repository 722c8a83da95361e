"""The OpenAPI document against the code that it describes; `tests/clients` asks a running agent."""

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

import trace_agent.views
from tests.views.building import NOW_MS, StoreBuilder
from tests.views.living import live
from trace_agent import __version__
from trace_agent.ingest.posts import POST_TYPES
from trace_agent.views.api import serves
from trace_agent.views.figures import read_figures
from trace_agent.views.params import ERRORS, EVENTS, LLM, METRICS, Table, read_query
from trace_agent.views.queries import list_rows
from trace_agent.views.readonly import snapshot
from trace_agent.views.stats import health_json, problems_of, stats_json

DOCUMENT: Any = json.loads((Path(trace_agent.views.__file__).parent / "openapi.json").read_text())


def validator(name: str) -> Any:  # noqa: ANN401 - it has no public type
    """Return what checks a value against a schema of the document."""
    return jsonschema_rs.Draft202012Validator(
        {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}
    )


def resolved(node: Any) -> Any:  # noqa: ANN401 - JSON
    """Follow a reference within the document."""
    while "$ref" in node:
        target = DOCUMENT
        for part in node["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        node = target
    return node


def test_the_version_is_ours() -> None:
    """The document says which trace-agent it belongs to."""
    assert DOCUMENT["info"]["version"] == __version__


def test_every_path_is_served_and_described() -> None:
    """What is described is served, by the method it is described for, and nothing is left out."""
    gets = {path for path, methods in DOCUMENT["paths"].items() if "get" in methods}
    posts = {path for path, methods in DOCUMENT["paths"].items() if "post" in methods}

    assert all(serves(path.replace("{id}", "x")) for path in gets)
    assert gets == {
        "/v1/traces", "/v1/traces/{id}", "/v1/events", "/v1/errors", "/v1/metrics", "/v1/costs", "/v1/stats",
        "/openapi.json", "/health", "/healthz", "/metrics",
    }  # fmt: skip
    assert posts == set(POST_TYPES)


@pytest.mark.parametrize(
    ("path", "table"),
    [("/v1/traces", LLM), ("/v1/events", EVENTS), ("/v1/errors", ERRORS), ("/v1/metrics", METRICS)],
)
def test_parameters_are_those_that_are_read(path: str, table: Table) -> None:
    """Each listing names exactly the parameters that it takes."""
    described = [resolved(parameter)["name"] for parameter in DOCUMENT["paths"][path]["get"]["parameters"]]

    assert tuple(described) == table.parameters


def test_references_lead_somewhere() -> None:
    """No reference of the document is broken, and every schema can be compiled."""

    def walk(node: Any) -> None:  # noqa: ANN401 - JSON
        if isinstance(node, dict):
            if "$ref" in node:
                assert resolved(node)
            for inner in node.values():
                walk(inner)
        elif isinstance(node, list):
            for inner in node:
                walk(inner)

    walk(DOCUMENT)
    for name in DOCUMENT["components"]["schemas"]:
        assert validator(name)


def test_rows_are_as_described(store: StoreBuilder) -> None:
    """Rows with everything and with next to nothing in them fit their schemas, which take no other fields."""
    store.call(
        id="full", agent="a", attributes='{"a":1}', provider="p", model="m", tokens={"input": 1, "total": 1},
        usage="{}", reported_nusd=5, cost_basis="reported", latency_ms=1.5, status="error",
        error_kind="timeout", error_code=504, error_message="m", finish_reason="f", request_id="r",
        input="words", output=[1],
    )  # fmt: skip
    store.call()
    store.event(duration_ms=1.0, attributes="{}", session="s")
    store.error(message="m", stack="s", source="o")
    store.metric(kind="timer", sum=1.0, min=1.0, max=1.0, p50=1.0, p95=1.0, p99=1.0, tags=("a:b",))
    store.metric(kind="set", members=3)
    for table, name in (
        (LLM, "CallPage"),
        (EVENTS, "EventPage"),
        (ERRORS, "ErrorPage"),
        (METRICS, "MetricPage"),
    ):
        params = {"text": "1"} if table.has_text else {}
        with snapshot(store.path) as connection:
            page = list_rows(connection, read_query(table, params, NOW_MS)).json()

        validator(name).validate(page)
        items = page["items"]
        assert isinstance(items, list)
        assert items
        assert not validator(name).is_valid(page | {"items": [*items, {"what": "else"}]})


def test_stats_and_health_are_as_described(store: StoreBuilder) -> None:
    """Both fit their schemas, in good health and in bad."""
    with snapshot(store.path) as connection:
        figures = read_figures(connection)
    for problem in (None, "gone"):
        validator("Stats").validate(stats_json(live(), figures if problem is None else None, problem))
        validator("Health").validate(health_json(live(), problems_of(live(stuck=problem), problem)))

    assert not validator("Stats").is_valid({})
    assert not validator("Health").is_valid({"status": "ok"})
