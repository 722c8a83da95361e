"""Mask secrets before anything is stored: a text or an event in, the same without its secrets out.

A secret becomes a marker such as `[redacted:github_token]`, never a partial mask, which somebody would
take for a wrong key. What is built in (`secret_search`) works on text and on JSON text alike. Patterns of
the user know nothing of JSON, so they are given its strings one by one.
"""

import json
import re
from collections.abc import Iterator, Sequence
from operator import is_
from typing import Final, TypeAlias, cast

from attrs import evolve

from trace_agent.core.events import Event, Failure, Json, Llm, Text, TextKind
from trace_agent.core.secret_search import find_secrets

__all__ = ["Redactor"]

Stored: TypeAlias = Llm | Event | Failure

_MARKER: Final = re.compile(r"\[redacted:[a-z_]+\]")
_CUSTOM_MARKER: Final = "[redacted:custom]"

# Where secrets run into each other, masking one can show the next. Each round is linear, so they are few.
_ROUNDS: Final = 4

# A pattern of the user may take time that grows with the square of the text; this bounds the text. Matches
# as long as the overlap are found wherever they are; longer ones where no border happens to cut them.
_WINDOW_CHARS: Final = 4096
_OVERLAP_CHARS: Final = 1024

# An agent sends its whole history with every call. Texts known to be clean are recognised by their hash,
# 64 bits that no sender can foresee. Shorter texts are searched as fast.
_REMEMBERED: Final = 1024
_REMEMBERED_FROM_CHARS: Final = 512

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class Redactor:
    """Masks what looks like a secret; to be used by one thread at a time.

    What is masked once stays as it is when it is masked again.
    """

    def __init__(self, patterns: Sequence[str] = ()) -> None:
        """Prepare the search.

        Args:
            patterns: regular expressions of the user (`redact_patterns`), in addition to what is built in.
        """
        self._patterns = tuple(map(re.compile, patterns))
        self._clean: set[int] = set()

    def redact(self, text: str) -> str:
        """Return a text without its secrets; the same object if it has none."""
        return self._remembering(text, is_json=False)

    def redact_json(self, text: str) -> str:
        """Return compact JSON text without its secrets, as valid as before; the same object if it has none.

        Patterns of the user see the strings and the names in it, not the numbers.
        """
        return self._remembering(text, is_json=True)

    def redact_words(self, words: Text | None) -> Text | None:
        """Return the words of a call without their secrets; the same object if they have none."""
        if words is None:
            return None
        redact = self.redact if words.kind is TextKind.TEXT else self.redact_json
        parts = tuple(map(redact, words.parts))
        # Compared by identity: comparing texts that differ late would cost as much as searching them.
        return words if all(map(is_, parts, words.parts)) else Text(words.kind, parts)

    def redact_event(self, event: Stored) -> Stored:
        """Return an event without secrets in its texts; the same object if it has none.

        Names and ids are let be: they are how events are found again.
        """
        attributes = self._maybe_json(event.attributes)
        same = attributes is event.attributes
        if isinstance(event, Llm):
            given, output = self.redact_words(event.input), self.redact_words(event.output)
            usage, message = self._maybe_json(event.usage), self._maybe(event.error_message)
            if same and all(
                map(
                    is_,
                    (given, output, usage, message),
                    (event.input, event.output, event.usage, event.error_message),
                )
            ):
                return event
            return evolve(
                event, attributes=attributes, input=given, output=output, usage=usage, error_message=message
            )
        if isinstance(event, Failure):
            message, stack = self._maybe(event.message), self._maybe(event.stack)
            if same and message is event.message and stack is event.stack:
                return event
            return evolve(event, attributes=attributes, message=message, stack=stack)
        return event if same else evolve(event, attributes=attributes)

    def _maybe(self, text: str | None) -> str | None:
        return None if text is None else self.redact(text)

    def _maybe_json(self, text: str | None) -> str | None:
        return None if text is None else self.redact_json(text)

    def _remembering(self, text: str, *, is_json: bool) -> str:
        if len(text) < _REMEMBERED_FROM_CHARS:
            return self._redacted(text, is_json=is_json)
        # A text that is clean as text may not be so as JSON, since patterns see other strings.
        key = hash((is_json, text))
        if key in self._clean:
            return text
        redacted = self._redacted(text, is_json=is_json)
        if redacted is text:
            if len(self._clean) >= _REMEMBERED:
                self._clean.clear()
            self._clean.add(key)
        return redacted

    def _redacted(self, text: str, *, is_json: bool) -> str:
        text = _masked(text)
        if not self._patterns:
            return text
        if not is_json:
            return self._custom(text)
        value = cast("Json", json.loads(text))
        masked = self._custom_within(value)
        return text if masked is value else _encode(masked)

    def _custom_within(self, value: Json) -> Json:
        """Apply the user's patterns to the strings of a value; return the same object if none match."""
        if isinstance(value, str):
            return self._custom(value)
        if isinstance(value, list):
            items = [self._custom_within(item) for item in value]
            return value if all(map(is_, items, value)) else items
        if isinstance(value, dict):
            pairs = {self._custom(name): self._custom_within(item) for name, item in value.items()}
            same = pairs.keys() == value.keys() and all(map(is_, pairs.values(), value.values()))
            return value if same else pairs
        return value

    def _custom(self, text: str) -> str:
        """Apply the user's patterns, one after the other, to what stands between markers."""
        for pattern in self._patterns:
            pieces: list[str] = []
            done = 0
            for start, end in _between_markers(text):
                for first, last in _matches(pattern, text[start:end]):
                    pieces += (text[done : start + first], _CUSTOM_MARKER)
                    done = start + last
            if pieces:
                text = "".join((*pieces, text[done:]))
        return text


def _masked(text: str) -> str:
    """Return a text with each secret of the built-in shapes replaced by its marker."""
    for _ in range(_ROUNDS):
        secrets = find_secrets(text)
        if not secrets:
            break
        pieces: list[str] = []
        done = 0
        for secret in secrets:
            pieces += (text[done : secret.start], f"[redacted:{secret.name}]")
            done = secret.end
        text = "".join((*pieces, text[done:]))
    return text


def _between_markers(text: str) -> Iterator[tuple[int, int]]:
    start = 0
    for marker in _MARKER.finditer(text):
        yield start, marker.start()
        start = marker.end()
    yield start, len(text)


def _matches(pattern: re.Pattern[str], text: str) -> Iterator[tuple[int, int]]:
    """Yield where a pattern matches anything, searching a window at a time."""
    at = 0
    while at < len(text):
        end = min(len(text), at + _WINDOW_CHARS + _OVERLAP_CHARS)
        # A match that begins from here on is the next window's.
        border = end if end == len(text) else at + _WINDOW_CHARS
        for match in pattern.finditer(text, at, end):
            first, last = match.span()
            if first >= border:
                break
            if last == end < len(text) and first > at:
                border = first  # it may be longer than this window shows: the next one begins with it
                break
            if first < last:
                yield first, last
                border = max(border, last)
        at = border
