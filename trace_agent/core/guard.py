"""Decide who may speak HTTP to us: a request's head in, nothing or a refusal out.

Localhost is no boundary against the user's own browser. A web page can send "simple" requests to any
local port, and with DNS rebinding it can read the answers. Three checks stop that: no `Origin` (a page
cannot leave it out where it matters), `Sec-Fetch-Site` none or same-origin (a page cannot forge it),
and a `Host` that is a loopback name (rebinding keeps the page's own name). `Sec-Fetch-Mode` is never
judged: Node's fetch sends it, and Node is our first client.
"""

import hmac
import re
from collections.abc import Collection
from typing import Final

from trace_agent.core.http import Request, Response, error_response

__all__ = ["LOOPBACK_HOSTS", "host_name", "refuse"]

LOOPBACK_HOSTS: Final = frozenset({"localhost", "127.0.0.1", "::1"})
# uri-host [":" port] (RFC 9110, section 7.2); an address of IPv6 stands in brackets, nothing else does.
_HOST: Final = re.compile(r"(?:\[([0-9a-f:.]*:[0-9a-f:.]*)\]|([^\[\]:]*))(?::[0-9]*)?")
_OPEN_PATHS: Final = frozenset({"/health", "/healthz"})
_OWN_SITES: Final = frozenset({"none", "same-origin"})


def host_name(header: str) -> str:
    """Return the lower-case name or address of a `Host` value, without port and brackets.

    A value that is no host at all comes back empty, and matches nothing.
    """
    match = _HOST.fullmatch(header.strip().lower())
    return "" if match is None else match[1] or match[2]


def refuse(request: Request, allowed_hosts: Collection[str], token: str | None) -> Response | None:
    """Return the answer for a request that may not be served, or None for one that may.

    Args:
        request: only its head is looked at.
        allowed_hosts: names beside the loopback ones, lower case.
        token: the bearer token that is demanded, if one is set; `/health` needs none.
    """
    headers = request.headers
    host = headers.get("host")
    # h11 has seen to it that there is exactly one Host (RFC 9112, section 3.2).
    name = "" if host is None else host_name(host)
    if name not in LOOPBACK_HOSTS and name not in allowed_hosts:
        return error_response(
            403, "foreign_host", "this Host is not served; loopback names and `allowed_hosts` are"
        )
    if "origin" in headers or headers.get("sec-fetch-site", "none") not in _OWN_SITES:
        return error_response(403, "browser", "requests of web pages are not served")
    if token is not None and request.path not in _OPEN_PATHS:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        # Compared as bytes, those that were sent, in constant time: the answer must not tell how much of
        # a guess was right.
        sent = given.strip(" ").encode("latin-1")
        if scheme.lower() != "bearer" or not hmac.compare_digest(sent, token.encode()):
            return error_response(
                401,
                "unauthorized",
                "send `Authorization: Bearer <token>`",
                (("WWW-Authenticate", 'Bearer realm="trace-agent"'),),
            )
    return None
