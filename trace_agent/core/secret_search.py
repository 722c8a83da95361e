"""Find secrets: a text in, the places of secrets out.

How it works. One regular expression looks for the characters that heads of shapes end in, and behind and
ahead of them only where there is one, so that text without secrets costs one pass. The rest of a secret is
matched where its head is, however long it is: nothing is lost between two windows. What has a name instead
of a shape is left to `secret_fields`.

Texts may be JSON, or have JSON within strings of JSON. So a secret has no quote in it, and no part of an
escape: the letter of an escaped newline is no letter before a secret, nor does one begin with it.
"""

import re
from functools import cache
from typing import Final

from trace_agent.core.secret_fields import OPTION, SEPARATOR, field_at, option_at
from trace_agent.core.secret_shapes import SHAPES, Shape
from trace_agent.core.secret_values import Span

__all__ = ["WINDOW_CHARS", "find_secrets"]

# `re` holds the interpreter lock while it searches: about 0.1 ms for this many characters.
WINDOW_CHARS: Final = 16 * 1024
# The longest `peek` looks at less; tails are not bound by the window.
_PEEK_CHARS: Final = 64

# A secret begins a word; escapes of JSON, URLs and terminals before it are no part of the word.
_WORD_STARTS: Final = re.compile(
    r"(?<![A-Za-z0-9])|(?<=\\[bfnrt])|(?<=\\u[0-9A-Fa-f]{4})|(?<=%[0-9A-Fa-f]{2})"
    r"|(?<=\[[0-9]m)|(?<=[\[;][0-9]{2}m)"
)
_ESCAPE_LETTERS: Final = frozenset("bfnrtu")

_PEM_HEAD: Final = "-----BEGIN"
_PEM_BEGIN: Final = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_PEM_END: Final = re.compile(r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
# An RSA key of 16,384 bits has 12,600 characters, and lines of it may be numbered and indented.
_PEM_CHARS: Final = 32 * 1024
# Lines of a key that has more than lines in between, such as quotes. Numbers of JSON have no capitals.
_PEM_LINE: Final = re.compile(
    r"(?:(?<![A-Za-z0-9+/=\\])|(?<=\\[nrt]))(?=[a-z0-9+/]{0,63}[A-Z])[A-Za-z0-9+/]{16,}={0,2}"
)


def find_secrets(text: str, window_chars: int = WINDOW_CHARS) -> list[Span]:
    """Return where the secrets of a text are, in order and apart from each other.

    The size of the windows makes no difference to what is found.
    """
    found: list[Span] = []
    sure_until = judged_until = 0
    for window in range(0, len(text), window_chars):
        window_end = window + window_chars
        for hit in _HEADS.finditer(text, window, window_end + _PEEK_CHARS):
            at = hit.start()
            if at >= window_end:
                break
            if at < sure_until:
                continue
            last = text[at]
            spans = (last == "N" and _private_key(text, at)) or _shapes_at(text, at)
            if not spans and at >= judged_until and (named_at := _NAMED_AT.get(last)) is not None:
                span, judged_until = named_at(text, at)
                spans = [] if span is None else [span]
            for span in spans:
                found.append(span)
                if span.start <= at and not span.vague:
                    sure_until = max(sure_until, span.end)
    return _apart(found)


def _shapes_at(text: str, at: int) -> list[Span]:
    """Return the secret whose head ends at a place, if there is one; more if there are opinions on it."""
    spans: list[Span] = []
    for length, heads in _RULES.get(text[at], ()):
        start = at + 1 - length
        shapes = heads.get(text[max(0, start) : at + 1])
        if shapes is None:
            continue
        for shape in shapes:
            # The escape's own letter begins nothing.
            if not shape.inside and (
                _WORD_STARTS.match(text, start) is None
                or (text[start] in _ESCAPE_LETTERS and text[start - 1 : start] == "\\")
            ):
                continue
            match = _compiled(shape.tail).match(text, at + 1)
            if match is None:
                continue
            first, end = match.span(1) if match.re.groups else (start, match.end())
            if shape.accepts is None or shape.accepts(text[first:end]):
                spans.append(Span(first, end, shape.name, shape.vague))
    return spans


def _private_key(text: str, at: int) -> list[Span]:
    """Return the private key whose `BEGIN` ends at a place, if there is one.

    One that is cut off, or stands in quoted lines, loses its lines one by one, since JSON has quotes of
    its own between them.
    """
    begin = _PEM_BEGIN.match(text, max(0, at + 1 - len(_PEM_HEAD)))
    if begin is None:
        return []
    body_end = text.find("-----", begin.end(), begin.end() + _PEM_CHARS)
    end = None if body_end < 0 else _PEM_END.match(text, body_end)
    if end is not None and text.find('"', begin.end(), body_end) < 0:
        return [Span(begin.start(), end.end(), "private_key")]
    if body_end < 0:
        body_end = min(len(text), begin.end() + _PEM_CHARS)
    return [Span(*line.span(), "private_key") for line in _PEM_LINE.finditer(text, begin.end(), body_end)]


def _apart(found: list[Span]) -> list[Span]:
    """Join spans that overlap, under the name of the one that is sure."""
    apart: list[Span] = []
    for span in sorted(found, key=lambda span: span.start):
        if apart and span.start < apart[-1].end:
            last = apart.pop()
            named = last if span.vague or not last.vague else span
            apart.append(Span(last.start, max(last.end, span.end), named.name, named.vague))
        else:
            apart.append(span)
    return apart


def _rules() -> dict[str, tuple[tuple[int, dict[str, list[Shape]]], ...]]:
    """Return the shapes by the last character of their heads, by the heads' length, then by head."""
    rules: dict[str, dict[int, dict[str, list[Shape]]]] = {}
    for shape in SHAPES:
        for head in shape.heads.split():
            rules.setdefault(head[-1], {}).setdefault(len(head), {}).setdefault(head, []).append(shape)
    return {last: tuple(lengths.items()) for last, lengths in rules.items()}


def _heads() -> re.Pattern[str]:
    """Return the expression that finds where heads end, and where names of secret fields may.

    Its alternatives begin with one character each, which `re` then looks for with a table.
    """
    tests: dict[str, list[str]] = {last: [] for last in _RULES}
    for last, lengths in _RULES.items():
        for _, heads in lengths:
            plain: list[str] = []
            for head, shapes in heads.items():
                behind = re.escape(head)
                if all(shape.peek for shape in shapes):
                    tests[last] += [f"(?<={behind})(?={shape.peek})" for shape in shapes]
                else:
                    plain.append(behind)
            if plain:
                tests[last].append(f"(?<={'|'.join(plain)})")
    for last, test in (("N", f"(?<={_PEM_HEAD})"), ("-", OPTION), ("=", SEPARATOR), (":", SEPARATOR)):
        tests.setdefault(last, []).append(test)
    return re.compile("|".join(f"{re.escape(last)}(?:{'|'.join(each)})" for last, each in tests.items()))


_RULES: Final = _rules()
_HEADS: Final = _heads()
_NAMED_AT: Final = {"=": field_at, ":": field_at, "-": option_at}
# Most of the shapes are never met: those that are get their expressions when they are.
_compiled: Final = cache(re.compile)
