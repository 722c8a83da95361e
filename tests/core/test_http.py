"""Answers are compact JSON in UTF-8, and every failing one has the same shape."""

from trace_agent.core.http import JSON_TYPE, Response, error_response, json_response


def test_json_response() -> None:
    """A value becomes compact JSON, with characters as they are."""
    response = json_response(202, {"a": [1, "ü"], "b": None}, (("Retry-After", "1"),))

    assert response == Response(
        202, '{"a":[1,"ü"],"b":null}'.encode(), "application/json", (("Retry-After", "1"),)
    )


def test_error_response() -> None:
    """An error is a code for programs and a message for people."""
    response = error_response(503, "ring_full", "no room", (("Retry-After", "1"),))

    assert response.body == b'{"error":{"code":"ring_full","message":"no room"}}'
    assert (response.status, response.content_type, response.headers) == (
        503,
        JSON_TYPE,
        (("Retry-After", "1"),),
    )
