"""Find secrets by the names they are given: `password=..`, `"api_key": ".."`, `--token ..`.

The name stands before a separator, with or without quotes, in a shell, a program, a configuration or JSON.
In JSON a value without quotes is no text, and the quote after a name in a text may be the end of that
text; neither may be touched.
"""

import re
from typing import Final

from trace_agent.core.secret_values import Span, is_basic, is_password, is_token

__all__ = ["OPTION", "SEPARATOR", "field_at", "option_at"]

_LEAST_CHARS: Final = 8
_NAME_CHARS: Final = 64
# Names end in these words, whatever stands before and whatever joins them.
_KINDS: Final = (
    ("password", "password"),
    ("passwd", "password"),
    ("passphrase", "password"),
    ("pwd", "password"),
    ("secret", "secret"),
    ("token", "token"),
    ("apikey", "api_key"),
    ("appkey", "api_key"),
    ("authkey", "api_key"),
    ("masterkey", "api_key"),
    ("servicekey", "api_key"),
    ("subscriptionkey", "api_key"),
    ("accesskey", "access_key"),
    ("accountkey", "access_key"),
    ("secretkey", "secret_key"),
    ("sharedkey", "secret_key"),
    ("signingkey", "secret_key"),
    ("encryptionkey", "secret_key"),
    ("privatekey", "private_key"),
    ("authorization", "authorization"),
)
_NAME_ENDS: Final = tuple(word for word, _ in _KINDS)
# Tokens that open nothing: places in a listing, pieces of text.
_HARMLESS: Final = (
    "pagetoken",
    "nexttoken",
    "continuationtoken",
    "synctoken",
    "cancellationtoken",
    "stoptoken",
    "bostoken",
    "eostoken",
    "padtoken",
    "unktoken",
    "masktoken",
)
# The names of types and resources: `AWS::IAM::AccessKey`, `arn:aws:secretsmanager:..:secret`.
_QUALIFIED: Final = re.compile(r"::\w{1,40}\Z|:secret\Z")
_BETWEEN: Final = " \t\"'`\\"
_QUOTES: Final = frozenset("\"'`")


def _separator() -> str:
    """Return the expression for a separator after what may be the name of a secret field."""
    ends = "(?:[Ee][TtNnYy]|[RrWw][Dd]|[Ss][Ee])"
    long_ends = "(?:[Aa][Tt][Ii][Oo][Nn])"
    between = ("", "[\"'` ]", r"(?:\\[\"'`]|[\"' ] )")
    tests = [f"(?<={end}{middle}[=:])" for middle in between for end in (ends, long_ends)]
    # More than that in between is rare enough to be looked at.
    tests.append(r"(?<=[\\\"'` \t]{3}[=:])")
    return "|".join(tests)


SEPARATOR: Final = _separator()
# The dashes of a command line's option: after a space, a newline (also as an escape), a quote, a bracket.
OPTION: Final = "(?<=[\\s n\"'`(\\[]--)(?=[a-z])"

_BARE: Final = re.compile(
    r"""[^\s"'`\\,;&(){}\[\]<>|=:][^\s"'`\\,;&(){}\[\]<>|=]*+(?:\\++[^\s"'`\\,;&(){}\[\]<>|=nrt]"""
    r"""[^\s"'`\\,;&(){}\[\]<>|=]*+)*+(?:={1,2}(?![\w$]))?"""
)
# What follows the quote that ends a text of JSON cannot begin a value.
_IN_QUOTES: Final = re.compile(r"""[^\s"'`\\:,\]}][^\s"'`\\]*+(?:\\++[^\s"'`\\nrt][^\s"'`\\]*+)*+""")
# A value without quotes stands on the line of its name.
_OPENING: Final = re.compile(r"""[=>]{0,2}(?:\s{0,32}[bBfFrRuU@]{0,2}(\\{0,7}["'`])|[ \t]{0,32})""")
_CLOSING: Final = re.compile(r"""(?:\\{1,7}[nrt]){0,2}(?:\\{0,7}["'`]|\Z)""")
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]{2,19} {1,4}")
_OPTION: Final = re.compile(r"""([a-z][a-z0-9-]{2,40})(?= {1,3}[^\s-]|\\{0,7}["'],\s{0,4}\\{0,7}["'])""")
_OPTION_OPENING: Final = re.compile(r"""(?:\\{0,7}["'],)?\s{0,4}(\\{0,7}["'`])?""")


def field_at(text: str, at: int) -> tuple[Span | None, int]:
    """Return the secret that a separator at a place gives a name to, and how far the text has been judged."""
    head = text[max(0, at - _NAME_CHARS) : at]
    name = head.rstrip(_BETWEEN)
    kind = _kind(name)
    if kind is None or _QUALIFIED.search(name):
        return None, 0
    opening = _OPENING.match(text, at + 1)
    assert opening is not None  # it can match nothing
    between = head[len(name) :]
    if opening[1] is None and not _QUOTES.isdisjoint(between):
        return None, 0
    spaced = opening.end() > at + 1 and text[opening.end() - 1].isspace()
    return _value(text, opening.end(), kind, name, quoted=opening[1] is not None, spaced=spaced)


def option_at(text: str, at: int) -> tuple[Span | None, int]:
    """Return the secret that follows a command line's option, whose second dash is at a place."""
    option = _OPTION.match(text, at + 1) if text[at - 1 : at] == "-" else None
    kind = None if option is None else _kind(option[1])
    if option is None or kind is None:
        return None, 0
    opening = _OPTION_OPENING.match(text, option.end())
    assert opening is not None  # it can match nothing
    return _value(text, opening.end(), kind, option[1], quoted=opening[1] is not None, spaced=False)


def _kind(name: str) -> str | None:
    """Return what a name says about its value."""
    word = name[-_NAME_CHARS // 2 :].lower().replace("_", "").replace("-", "").replace(" ", "")
    if not word.endswith(_NAME_ENDS) or word.endswith(_HARMLESS):
        return None
    return next(kind for end, kind in _KINDS if word.endswith(end))


def _value(
    text: str, start: int, kind: str, name: str, *, quoted: bool, spaced: bool
) -> tuple[Span | None, int]:
    if kind == "authorization":
        scheme = _SCHEME.match(text, start)
        start = start if scheme is None else scheme.end()
    match = (_IN_QUOTES if quoted else _BARE).match(text, start)
    if match is None:
        return None, 0
    # What ends a sentence tells nothing about the value, and may be part of it.
    value = match[0] if quoted else match[0].rstrip(".:!?")
    end = match.end()
    # A quoted text of several words is no secret; what is called or indexed is a program.
    is_whole = _CLOSING.match(text, end) if quoted else text[end : end + 1] not in {"(", "[", "{"}
    if len(value) < _LEAST_CHARS or not is_whole:
        return None, end
    if kind == "password":
        is_secret = is_password(value, quoted=quoted, certain=name[-3:].isupper() and not spaced)
    else:
        certain = kind.endswith("_key")
        is_secret = is_token(value, quoted=quoted, spaced=spaced, certain=certain) or (
            kind == "authorization" and is_basic(value)
        )
    return (Span(start, end, kind, vague=True) if is_secret else None), end
