"""Turn genai-prices' match clauses into patterns that SQL can ask: a clause in, globs and regexps out.

A clause is a tree of `or`, `and`, `equals`, `starts_with`, `ends_with`, `contains` and `regex`; a row of the
price table has one SQLite GLOB and at most one regular expression, and a clause is as many rows as it has
alternatives.
"""

import re
from collections.abc import Iterator
from typing import Final, cast

from attrs import frozen

__all__ = ["Pattern", "patterns_of"]


@frozen
class Pattern:
    """What a name must be like: both of `glob` (SQLite's) and `regexp` (searched for, if there is one).

    Attributes:
        exact: the only name that fits, if there is only one.
    """

    glob: str
    regexp: str | None = None
    exact: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Return names that are likely to be asked for."""
        if self.exact is not None:
            return (self.exact,)
        plain = re.sub(r"\[(.)\]|\*", r"\1", self.glob)
        # Bedrock's patterns leave the version out, which agents write.
        return (plain, f"{plain}-v1:0") if "anthropic." in plain else (plain,)

    def fits(self, name: str) -> bool:
        """Tell whether a name, in lower case, is like this."""
        if self.exact is not None:
            return name == self.exact
        return re.search(_regexp_of_glob(self.glob), name) is not None and (
            self.regexp is None or re.search(self.regexp, name) is not None
        )


# A regexp that begins with plain text is looked at only for names that begin so.
_PLAIN_START: Final = re.compile(r"\^((?:[a-z0-9_/-]|\\[./-])*)")


def patterns_of(clause: dict[str, object]) -> Iterator[Pattern]:
    """Yield patterns of which at least one fits where the clause holds; names are compared in lower case."""
    ((kind, operand),) = clause.items()
    if kind == "or":
        for part in cast("list[dict[str, object]]", operand):
            yield from patterns_of(part)
        return
    if kind == "and":
        first, *rest = (list(patterns_of(part)) for part in cast("list[dict[str, object]]", operand))
        also = "".join(f"(?=[\\s\\S]*?(?:{'|'.join(map(_regexp_of, part))}))" for part in rest)
        for pattern in first:
            own = "" if pattern.regexp is None else f"(?=[\\s\\S]*?(?:{pattern.regexp}))"
            yield Pattern(pattern.glob, f"^{own}{also}")
        return
    text = cast("str", operand)
    if kind == "regex":
        start = _PLAIN_START.match(text)
        plain = ""
        if start is not None and "|" not in text:
            # The last character may be optional or repeated.
            plain = start[1] if text[start.end() :][:1] not in {"?", "*", "{"} else start[1][:-1].rstrip("\\")
        yield Pattern(_escape(plain.replace("\\", "")) + "*", text)
        return
    text = text.lower()
    escaped = _escape(text)
    if kind == "equals":
        yield Pattern(escaped, exact=text)
    elif kind == "starts_with":
        yield Pattern(f"{escaped}*")
    elif kind == "ends_with":
        yield Pattern(f"*{escaped}")
    elif kind == "contains":
        yield Pattern(f"*{escaped}*")
    else:
        raise ValueError(f"unknown clause {kind}")


def _escape(text: str) -> str:
    return re.sub(r"[*?[]", lambda found: f"[{found[0]}]", text)


def _regexp_of(pattern: Pattern) -> str:
    whole = _regexp_of_glob(pattern.glob)
    return whole if pattern.regexp is None else f"(?={whole})[\\s\\S]*?(?:{pattern.regexp})"


def _regexp_of_glob(glob: str) -> str:
    parts = re.findall(r"\[(.)\]|(\*)|([^*[]+)", glob)
    return (
        "^" + "".join("[\\s\\S]*" if star else re.escape(one or plain) for one, star, plain in parts) + r"\Z"
    )
