"""Read addresses, host names, URLs and HTTP headers of settings; readers as in `settings_values`."""

import ipaddress
import re
from typing import Final
from urllib.parse import urlsplit

from attrs import frozen

from trace_agent.core.settings_values import DIGITS, HIDDEN, BadValueError, items, shown

__all__ = [
    "DEFAULT_LISTEN",
    "Address",
    "as_address",
    "as_headers",
    "as_health_url",
    "as_host",
    "as_token",
    "as_url",
    "shown_url",
]

# Letters, digits and hyphens (RFC 1123, section 2.1), and the underscore that container networks allow.
_HOST: Final = re.compile(r"[a-z0-9_]([a-z0-9_.-]{0,251}[a-z0-9_])?")
_TOKEN: Final = re.compile(r"[\x21-\x7e]+")
# A field name is a token, its value is visible text with space only inside (RFC 9110, section 5).
_HEADER: Final = re.compile(r"([A-Za-z0-9!#$%&'*+.^_`|~-]+)\s*[:=]\s*([\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?)")


@frozen
class Address:
    """Where to listen.

    Attributes:
        host: an IP address in its canonical form, without brackets, or `localhost`.
        port: 0 lets the system choose.
    """

    host: str
    port: int

    @property
    def hosts(self) -> tuple[str, ...]:
        """Return the IP addresses to bind; the second one only where the machine has it.

        `localhost` means either loopback address, depending on the machine and the client, so both
        answer for it, and for the address that clients take by default.
        """
        if self.host == "localhost" or self == DEFAULT_LISTEN:
            return ("127.0.0.1", "::1")
        return (self.host,)

    @property
    def names(self) -> tuple[str, ...]:
        """Return what a `Host` header can call it: the hosts, unless they stand for every address."""
        return tuple(host for host in self.hosts if not ipaddress.ip_address(host).is_unspecified)

    @property
    def is_loopback(self) -> bool:
        """Return whether it can be reached from this machine alone."""
        return all(ipaddress.ip_address(host).is_loopback for host in self.hosts)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


DEFAULT_LISTEN: Final = Address("127.0.0.1", 9090)


def as_address(value: object) -> Address:
    """Return an address to listen on; a port alone means `localhost`.

    `:9090` is refused, since it means every address to some programs and this machine to others.
    """
    text = str(value) if type(value) is int and 0 <= value < 65_536 else value
    if isinstance(text, str) and text.isprintable():
        host, colon, port = text.lower().rpartition(":")
        canonical = _canonical_host(host if colon else "localhost")
        if canonical and DIGITS.fullmatch(port) and int(port) < 65_536:
            return Address(canonical, int(port))
    raise BadValueError(
        "must be an IP address or localhost with a port, or a port alone: "
        "127.0.0.1:9090, [::1]:9090, localhost:9090, 9090"
    )


def as_host(value: object) -> str:
    """Return a host name in small letters, or an IP address in canonical form without brackets."""
    text = value.lower() if isinstance(value, str) else ""
    if _HOST.fullmatch(text) and ".." not in text:
        return text
    canonical = _canonical_host(text if text.startswith("[") else f"[{text}]")
    if canonical is None:
        raise BadValueError("must be a host name or an IP address, without a port")
    return canonical


def as_url(value: object) -> str:
    """Return a URL of http or https without credentials.

    An `@` is refused anywhere: where a password holds a slash, it would hide in what parses as a path.
    """
    if isinstance(value, str) and value.isprintable() and " " not in value and not {"@", "#"} & {*value}:
        try:
            parts = urlsplit(value)
            if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
                return value
        except ValueError:  # urllib's verdict on ports and brackets; its message may repeat the URL
            pass
    raise BadValueError(
        "must be a URL such as https://host:port/path, without user, password, @ or #: "
        "credentials travel in a header"
    )


def as_health_url(value: object) -> str:
    """Return a URL, or `auto` for the one of the watched gateway."""
    return "auto" if value == "auto" else as_url(value)


def as_token(value: object) -> str:
    """Return what can stand behind `Authorization: Bearer`."""
    if isinstance(value, str) and _TOKEN.fullmatch(value):
        return value
    raise BadValueError("must be visible ASCII characters without spaces")


def as_headers(value: object) -> tuple[tuple[str, str], ...]:
    """Return names and values of HTTP headers, from `Name: value` or `Name=value` items or a TOML table."""
    if isinstance(value, dict):
        value = [f"{name}: {text}" if isinstance(text, str) else text for name, text in value.items()]
    return items(_header)(value)


def shown_url(value: object) -> str:
    """Return a URL, or several, without what may be credentials: user, password, query."""
    if isinstance(value, tuple):
        return ", ".join(shown_url(url) for url in value) or "none"
    if not isinstance(value, str):
        return shown(value)
    # The value may have been refused: whatever stands before an `@` can be a password.
    _, at, after = value.rpartition("@")
    address, query, _ = (f"{HIDDEN}@{after}" if at else value).partition("?")
    return shown(f"{address}?{HIDDEN}" if query else address)


def _header(value: object) -> tuple[str, str]:
    found = _HEADER.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise BadValueError("must be `Name: value`")
    return found[1], found[2]


def _canonical_host(text: str) -> str | None:
    """Return an IP address in canonical form, `localhost` as it is, or None for anything else."""
    if text == "localhost":
        return text
    bracketed = text.startswith("[") and text.endswith("]")
    try:
        address = ipaddress.ip_address(text[1:-1] if bracketed else text)
    except ValueError:
        return None
    return str(address) if bracketed == (address.version == 6) else None
