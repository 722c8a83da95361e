"""No web page reaches us, neither by a simple request nor by a name that it makes point here.

What a browser cannot leave out or forge decides: `Host`, `Origin`, `Sec-Fetch-Site`. What media types a body
may have is decided where bodies are taken, two `Host` headers are refused by the parser.
"""

import hmac
import json
import re
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trace_agent.core import guard
from trace_agent.core.guard import LOOPBACK_HOSTS, host_name, refuse
from trace_agent.core.http import Request, Response

OWN: Final = "localhost:9090"
PATHS: Final = (
    "/v1/traces",
    "/v1/stats",
    "/metrics",
    "/openapi.json",
    "/health",
    "/healthz",
    "/",
    "/nothing",
)
TOKEN: Final = "s3cret-token"


async def _no_body() -> bytes:
    raise AssertionError("a request is judged by its head")


def request(path: str = "/v1/traces", /, method: str = "POST", **headers: str) -> Request:
    """Return a request whose headers are written as keywords, `_` for `-`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Request(method, path, {}, named, frozenset(), _no_body)


def code_of(response: Response | None) -> str | None:
    """Return the code of a refusal, having seen that it is one that a page can do nothing with."""
    if response is None:
        return None
    error = json.loads(response.body)["error"]
    assert response.status == (401 if error["code"] == "unauthorized" else 403)
    assert error["message"]
    assert not [name for name, _ in response.headers if name.lower().startswith("access-control-")]
    return str(error["code"])


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("localhost", "localhost"),
        ("localhost:9090", "localhost"),
        ("localhost:", "localhost"),
        ("LocalHost:9090", "localhost"),
        (" 127.0.0.1:1 ", "127.0.0.1"),
        ("[::1]", "::1"),
        ("[::1]:9090", "::1"),
        ("[::FFFF:127.0.0.1]:9090", "::ffff:127.0.0.1"),
        ("localhost.", "localhost."),
        ("127.0.0.1.evil.com:9090", "127.0.0.1.evil.com"),
        ("evil@localhost", "evil@localhost"),
        ("", ""),
        (":9090", ""),
        ("::1", ""),
        ("::1:9090", ""),
        ("[::1", ""),
        ("[::1]9090", ""),
        ("[::1]:port", ""),
        ("[::1]:90:90", ""),
        ("[localhost]", ""),
        ("[127.0.0.1]", ""),
        ("localhost:port", ""),
        ("localhost:90:90", ""),
        ("localhost:9090@evil.example", ""),
        ("localhost:٣", ""),
    ],
)
def test_host_name(header: str, name: str) -> None:
    """The name or address comes out without port and brackets; what is no host comes out empty."""
    assert host_name(header) == name


@given(
    st.text()
    | st.lists(st.sampled_from(["localhost", "127.0.0.1", "::1", *"[]:.@ ", "90", "evil"])).map("".join)
)
def test_host_name_of_anything(header: str) -> None:
    """Whatever a header says, it names the loopback only by one of three names and at most a port."""
    is_loopback = re.fullmatch(r"(localhost|127\.0\.0\.1|\[::1])(:[0-9]*)?", header.strip().lower())

    assert (host_name(header) in LOOPBACK_HOSTS) is (is_loopback is not None)


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1:9090", "[::1]:9090", "LOCALHOST:9090", "agent.lan:9090"]
)
def test_own_hosts(host: str) -> None:
    """Loopback names and the allowed ones are served, whatever the port."""
    assert refuse(request(host=host), ["agent.lan"], None) is None


@pytest.mark.parametrize("origin", [{}, {"origin": "http://evil.example:9090"}])
@pytest.mark.parametrize(
    "host",
    [
        "evil.example:9090", "evil.example", "127.0.0.1.evil.com", "localhost.evil.com:9090", "localhost.",
        "evil.com#localhost", "evil@localhost:9090", "localhost:9090@evil.com", "0.0.0.0:9090", "[::]:9090",
        "10.0.0.7:9090", "agent.lan", "", "::1", "[::1", "localhost, evil.example", "localhost evil.example",
    ],
)  # fmt: skip
def test_foreign_hosts(host: str, origin: dict[str, str]) -> None:
    """Any other name is refused, with and without an Origin: a page that was rebound keeps its own name."""
    assert code_of(refuse(request(host=host, **origin), [], None)) == "foreign_host"


def test_no_host() -> None:
    """A request without a Host (HTTP/1.0 may leave it out) is refused."""
    assert code_of(refuse(request(), [], None)) == "foreign_host"


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "null",
        "",
        "http://localhost:9090",
        "http://127.0.0.1:3000",
        "chrome-extension://abc",
    ],
)
def test_origins(origin: str) -> None:
    """Any Origin gives a page away, one that names us too: a rebound page is of the same origin."""
    assert code_of(refuse(request(host=OWN, origin=origin), [], None)) == "browser"


@pytest.mark.parametrize(
    ("site", "code"),
    [
        ("none", None),
        ("same-origin", None),
        ("cross-site", "browser"),
        ("same-site", "browser"),
        ("", "browser"),
        ("NONE", "browser"),
        ("none, cross-site", "browser"),
        ("something-new", "browser"),
    ],
)
def test_fetch_sites(site: str, code: str | None) -> None:
    """Pages cannot forge Sec-Fetch-Site; a person's own address bar says none."""
    assert code_of(refuse(request(host=OWN, sec_fetch_site=site), [], None)) == code


@pytest.mark.parametrize("mode", ["cors", "no-cors", "navigate", "websocket"])
def test_fetch_mode_is_not_judged(mode: str) -> None:
    """Node's fetch sends Sec-Fetch-Mode, and may speak to us."""
    assert refuse(request(host=OWN, sec_fetch_mode=mode, user_agent="node"), [], None) is None


@pytest.mark.parametrize(
    "media_type",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json",
    ],
)
@pytest.mark.parametrize("origin", [{"origin": "https://evil.example"}, {"sec_fetch_site": "cross-site"}])
def test_simple_requests(media_type: str, origin: dict[str, str]) -> None:
    """A page's request is refused before its body is read, whatever the body says it is."""
    assert code_of(refuse(request(host=OWN, content_type=media_type, **origin), [], None)) == "browser"


def test_preflight() -> None:
    """A browser that asks whether a page may reach the private network is refused and told nothing."""
    asked = request(
        "/v1/traces",
        "OPTIONS",
        host=OWN,
        origin="https://evil.example",
        access_control_request_method="POST",
        access_control_request_private_network="true",
    )

    assert code_of(refuse(asked, [], None)) == "browser"


def test_websocket() -> None:
    """A page cannot open a WebSocket, which needs no permission otherwise."""
    upgrade = request(
        "/", "GET", host=OWN, origin="https://evil.example", upgrade="websocket", connection="Upgrade"
    )

    assert code_of(refuse(upgrade, [], None)) == "browser"


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS", "PUT"])
@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"host": "evil.example:9090"}, "foreign_host"),
        ({"host": OWN, "origin": "https://evil.example"}, "browser"),
        ({"host": OWN, "sec_fetch_site": "cross-site"}, "browser"),
    ],
)
def test_no_path_is_open_to_pages(path: str, method: str, headers: dict[str, str], code: str) -> None:
    """Every path and method is guarded, those that exist and those that need no token included."""
    assert code_of(refuse(request(path, method, **headers), [], TOKEN)) == code


@pytest.mark.parametrize(
    ("authorization", "code"),
    [
        (f"Bearer {TOKEN}", None),
        (f"bearer {TOKEN}", None),
        (f"BEARER   {TOKEN} ", None),
        (TOKEN, "unauthorized"),
        ("Bearer", "unauthorized"),
        ("Bearer ", "unauthorized"),
        (f"Bearer {TOKEN[:-1]}", "unauthorized"),
        (f"Bearer {TOKEN}x", "unauthorized"),
        (f"Bearer {TOKEN.upper()}", "unauthorized"),
        (f"Bearer\t{TOKEN}", "unauthorized"),
        (f"Basic {TOKEN}", "unauthorized"),
        (f"Bearer Bearer {TOKEN}", "unauthorized"),
        ("Bearer caf\xe9", "unauthorized"),
        ("", "unauthorized"),
    ],
)
def test_tokens(authorization: str, code: str | None) -> None:
    """A token that is set is demanded, whole; the scheme's letters may be of any case."""
    assert code_of(refuse(request(host=OWN, authorization=authorization), [], TOKEN)) == code


def test_missing_token() -> None:
    """A request without a token is told how to send one."""
    refusal = refuse(request(host=OWN), [], TOKEN)

    assert code_of(refusal) == "unauthorized"
    assert refusal is not None
    assert dict(refusal.headers) == {"WWW-Authenticate": 'Bearer realm="trace-agent"'}


@pytest.mark.parametrize("token", ["pässwort", "à", "пароль", "😀"])
def test_tokens_beyond_ascii(token: str) -> None:
    """A token is compared as the bytes that came, so one in UTF-8 is recognised, and another is not."""
    sent = token.encode().decode("latin-1")  # as headers are decoded

    assert refuse(request(host=OWN, authorization=f"Bearer {sent}"), [], token) is None
    assert (
        code_of(refuse(request(host=OWN, authorization=f"Bearer {sent[:-1]}"), [], token)) == "unauthorized"
    )


@pytest.mark.parametrize("path", PATHS)
def test_paths_without_token(path: str) -> None:
    """Only the health of the agent is told without the token."""
    code = code_of(refuse(request(path, "GET", host=OWN), [], TOKEN))

    assert code == (None if path in {"/health", "/healthz"} else "unauthorized")


def test_no_token_set() -> None:
    """Where no token is set, one that is sent is not looked at."""
    assert refuse(request(host=OWN, authorization="Bearer anything"), [], None) is None


def test_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens are only ever compared by `hmac.compare_digest`, as bytes."""
    compared: list[tuple[object, object]] = []

    class WatchedHmac:
        @staticmethod
        def compare_digest(left: bytes, right: bytes) -> bool:
            compared.append((left, right))
            return hmac.compare_digest(left, right)

    monkeypatch.setattr(guard, "hmac", WatchedHmac)
    verdicts = [
        refuse(request(host=OWN, authorization=f"Bearer {given}"), [], TOKEN) is None
        for given in (TOKEN, "x", "", TOKEN[:-1])
    ]

    assert verdicts == [True, False, False, False]
    assert compared == [(given.encode(), TOKEN.encode()) for given in (TOKEN, "x", "", TOKEN[:-1])]


@given(st.text(st.characters(max_codepoint=255)), st.text(min_size=1))
def test_any_credentials(authorization: str, token: str) -> None:
    """Whatever is sent is either the token or refused."""
    served = refuse(request(host=OWN, authorization=authorization), [], token) is None

    assert not served or authorization.strip(" ").endswith(token.encode().decode("latin-1").strip(" "))
