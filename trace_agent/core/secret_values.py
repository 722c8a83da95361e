"""Judge whether a value is a secret: text that stands where a secret would in, yes or no out.

Prose, code and examples put words, calls, variables and placeholders in the same places.
"""

import re
from typing import Final

from attrs import frozen

__all__ = ["Span", "is_basic", "is_bearer", "is_given", "is_password", "is_token"]


@frozen
class Span:
    """Where a secret is: characters `start` to `end`.

    Attributes:
        name: its shape.
        vague: known by its place only.
    """

    start: int
    end: int
    name: str
    vague: bool = False


# Judgements are made on so many characters.
_JUDGED_CHARS: Final = 256
# What stands for a value that is elsewhere, or for none: variables of shells and templates, words.
_PLACEHOLDER: Final = re.compile(
    r"\$(?:[({]|\w+\Z)|%(?:[({]|\w+%|s\b)|\{\{|\{\w+\}|#\{|<|&lt;|\*{3}|\.\.|[xX]{4}|\[redacted:"
    r"|(?i:(?:example|placeholder|redacted|change|replace|insert|dummy|undefined|required|optional)(?![a-z])"
    r"|your(?:api|access|auth|key|own|pass|secret|token|[^a-z])|change_?me|env[.:]|process\."
    r"|op:|vault:|file:|arn:|https?:)"
)
# The name of an environment variable, and a path of attributes: `GITHUB_TOKEN`, `self.config.token`.
_VARIABLE: Final = re.compile(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)++")
_ATTRIBUTE: Final = re.compile(r"[A-Za-z_]\w*+(?:\.[A-Za-z_]\w*+)++")
_PATH: Final = re.compile(r"/|\.{1,2}/|~/|[A-Za-z]:|[a-z][a-z0-9+.-]{0,30}://")
# A secret access key of AWS, which may begin with a slash.
_AWS_SECRET: Final = re.compile(r"[A-Za-z0-9+/]{40}")
_LETTERS: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")
_DIGIT: Final = re.compile(r"[0-9]")
_LETTER: Final = re.compile(r"[^\W\d_]")
# Letters in a row of the same case: random ones come to 2 or 3, words to 5.
_WORD_CHARS: Final = 4
# A random text of this length has a digit, but for one in ten; names of several short words are shorter.
_RANDOM_CHARS: Final = 16


def is_given(value: str) -> bool:
    """Return whether a value is more than a placeholder."""
    return _PLACEHOLDER.match(value) is None


def is_bearer(value: str) -> bool:
    """Return whether the word after `Bearer` is a token."""
    return is_token(value, quoted=False, spaced=False)


def is_basic(value: str) -> bool:
    """Return whether a value may be base64 of `user:password` (RFC 7617)."""
    return len(value) % 4 == 0 and (value.endswith("=") or _is_scattered(value[:_JUDGED_CHARS]))


def is_token(value: str, *, quoted: bool, spaced: bool, certain: bool = False) -> bool:
    """Return whether the value of a field that holds a token, a key or a secret is one.

    Args:
        value: at least 8 characters.
        quoted: it stands in quotes; otherwise it may be an expression of some language.
        spaced: there is space before it, as in prose and in programs.
        certain: the field holds nothing else, so that words in quotes are a secret too.
    """
    if _AWS_SECRET.fullmatch(value):
        return True
    value = value[:_JUDGED_CHARS]
    if not is_given(value) or _PATH.match(value) or _VARIABLE.fullmatch(value):
        return False
    if not quoted and (_ATTRIBUTE.fullmatch(value) or (spaced and _is_worded(value))):
        return False
    if _DIGIT.search(value):
        return _LETTER.search(value) is not None
    # Words that underscores join are a name.
    return (certain and quoted and "_" not in value) or (len(value) >= _RANDOM_CHARS and _is_scattered(value))


def is_password(value: str, *, quoted: bool, certain: bool) -> bool:
    """Return whether the value of a field that holds a password is one; people choose words for them.

    Args:
        value: at least 8 characters.
        quoted: it stands in quotes; otherwise it may be an expression of some language.
        certain: the field can be no parameter of a program; `PASSWORD=` in a shell.
    """
    value = value[:_JUDGED_CHARS]
    if not is_given(value) or _PATH.match(value):
        return False
    if "password" in value.lower():
        # `Password123` is among the most used ones; `user_password` and `password2.value` are variables.
        return _DIGIT.search(value) is not None and "_" not in value and "." not in value
    if quoted or certain:
        return True
    return not _ATTRIBUTE.fullmatch(value) and not value.replace("_", "").replace("-", "").isalpha()


def _is_scattered(value: str) -> bool:
    """Return whether the letters of a value, of both cases, make no words."""
    pieces = _LETTERS.findall(value)
    return not (value.islower() or value.isupper()) and sum(map(len, pieces)) < _WORD_CHARS * len(pieces)


def _is_worded(value: str) -> bool:
    """Return whether a value is words with few digits: `base64encoded`, `AES256-encrypted`."""
    return not _is_scattered(value) and 4 * len(_DIGIT.findall(value)) < len(value)
