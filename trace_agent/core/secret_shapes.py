r"""Know what secrets look like by themselves: a table of their shapes, a text in, the places of secrets out.

How it works. Every shape has heads: texts that begin it and end in a character that is rare in other text
(`sk-`, `ghp_`, `SG.`). One regular expression looks for those last characters, and behind and ahead of
them only where there is one, so that text without secrets costs one pass. At a head the rest of the shape is
matched where it stands, however long it is: no secret is lost between two windows.

Linear time rests on three rules, for shapes to come as well: a tail has no nested repetition; a tail that
can fail after an unbounded run may start at most once in that run (its head has a character that the run
cannot have, or a lookbehind says that no character of the run stands before it); any other tail takes all it
has run over, or is bounded.

Texts may be JSON, or have JSON within strings of JSON. So no shape takes a quote or a backslash, except
whole escapes, and none begins within an escape: the letter of `\n` is no letter before a secret, and
the `r` of `\rk_live_` does not begin one.
"""

import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Final

from attrs import frozen

from trace_agent.core.secret_fields import OPTION, SEPARATOR, field_at, option_at
from trace_agent.core.secret_values import Span, is_basic, is_bearer, is_given

__all__ = ["find_secrets"]

# `re` holds the interpreter lock while it searches: about 0.1 ms for this many characters.
_WINDOW_CHARS: Final = 16 * 1024
# The longest `peek` looks at less; tails are not bound by the window.
_PEEK_CHARS: Final = 64

# A secret begins a word; escapes of JSON, URLs and terminals before it are no part of the word.
_WORD_STARTS: Final = re.compile(
    r"(?<![A-Za-z0-9])|(?<=\\[bfnrt])|(?<=\\u[0-9A-Fa-f]{4})|(?<=%[0-9A-Fa-f]{2})"
    r"|(?<=\[[0-9]m)|(?<=[\[;][0-9]{2}m)"
)
_ESCAPE_LETTERS: Final = frozenset("bfnrtu")


@frozen
class Shape:
    """One shape of secrets.

    Attributes:
        name: what the marker says.
        heads: how it begins, separated by spaces.
        tail: what must follow; its group is the secret, where it has one, else it is head and tail.
        peek: what must follow the head for the tail to be tried; short, for heads that are frequent.
        inside: it may begin within a word.
        vague: another shape within it knows better what it is.
        accepts: has the last word on the secret.
    """

    name: str
    heads: str
    tail: str
    peek: str = ""
    inside: bool = False
    vague: bool = False
    accepts: Callable[[str], bool] | None = None


_WORD: Final = r"[A-Za-z0-9]{20,}"
_DASHED: Final = r"[A-Za-z0-9_-]{20,}"
_HEX: Final = r"[0-9a-f]"

SHAPES: Final = (
    # Models
    Shape("openai_key", "sk-", rf"(?:proj|svcacct|admin|None)-{_DASHED}|{_WORD}[A-Za-z0-9_-]*"),
    Shape("anthropic_key", "sk-ant-", r"[A-Za-z0-9_-]{16,}"),
    Shape("openrouter_key", "sk-or-", r"[A-Za-z0-9_-]{16,}"),
    Shape("langfuse_key", "sk-lf-", _DASHED),
    Shape("moonshot_key", "sk-kimi-", _DASHED),
    Shape("cerebras_key", "csk-", _WORD),
    Shape("elevenlabs_key", "sk_", rf"{_HEX}{{48}}(?![A-Za-z0-9])", peek=rf"{_HEX}{{8}}"),
    Shape("fireworks_key", "fw_", _WORD),
    Shape("google_key", "AIz", r"a[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])"),
    Shape("google_token", "ya29.", _DASHED),
    Shape("google_secret", "GOCSPX-", _DASHED),
    Shape("groq_key", "gsk_", _WORD),
    Shape("huggingface_token", "hf_ api_org_", _WORD),
    Shape("langsmith_key", "lsv2_", r"[a-z]{2}_[A-Za-z0-9_]{20,}"),
    Shape("nvidia_key", "nvapi-", _DASHED),
    Shape("perplexity_key", "pplx-", _WORD),
    Shape("pinecone_key", "pcsk_", r"[A-Za-z0-9_]{20,}"),
    Shape("replicate_token", "r8_", _WORD),
    Shape("tavily_key", "tvly-", _DASHED),
    Shape("xai_key", "xai-", _WORD),
    # Clouds and their tools
    Shape("aws_access_key_id", "AKI ASI", r"A[A-Z0-9]{16}(?![A-Za-z0-9])"),
    Shape("digitalocean_token", "dop_v1_ doo_v1_ dor_v1_", rf"{_HEX}{{32,}}"),
    Shape("fly_token", "FlyV", r"1 [A-Za-z0-9_+/=,-]{20,}"),
    Shape("fly_token", "fo1_ fm1_ fm2_ fm1r_ fm2r_ fm1a_ fm2a_", r"[A-Za-z0-9_+/-]{20,}={0,2}"),
    Shape("tailscale_key", "tskey-", _DASHED),
    Shape("vault_token", "hvs. hvb. hvr.", _DASHED),
    Shape("age_key", "AGE-SECRET-KEY-", r"1[A-Z0-9]{20,}"),
    # Code and packages. Since 2026 `ghs_` may be followed by the app's id and a JWT.
    Shape("github_token", "ghp_ gho_ ghu_ ghs_ ghr_", _WORD, inside=True),
    Shape(
        "github_token",
        "ghs_",
        r"[A-Za-z0-9]{1,20}_eyJ[A-Za-z0-9_-]{16,}(?:\.[A-Za-z0-9_-]{1,4096}){0,2}",
        inside=True,
    ),
    Shape("github_token", "github_pat_", r"[A-Za-z0-9_]{22,}", inside=True),
    Shape(
        "gitlab_token",
        "glpat- gldt- glrt- glcbt- glptt- glsoat- glft- glimt- glagent- gloas-",
        r"[A-Za-z0-9_-]{16,}(?:\.[a-z0-9]{2}\.[a-z0-9]{7,12})?",
    ),
    Shape("npm_token", "npm_", _WORD),
    # 64 bits of a macaroon's head have no dash, other than the words of a package's name.
    Shape("pypi_token", "pypi-", r"[A-Za-z0-9_]{16}[A-Za-z0-9_-]{16,}"),
    Shape("docker_token", "dckr_pat_ dckr_oat_", _DASHED),
    # Services
    Shape("slack_token", "xoxa- xoxb- xoxc- xoxd- xoxe- xoxo- xoxp- xoxr- xoxs-", r"[A-Za-z0-9%-]{10,}"),
    Shape("slack_token", "xapp-", r"[0-9]-[A-Za-z0-9-]{16,}"),
    Shape("slack_webhook", "hooks.slack.", r"com/(?:services|workflows|triggers)/([A-Za-z0-9/_+-]{16,})"),
    Shape("stripe_key", "sk_live_ sk_test_ rk_live_ rk_test_ whsec_", r"[A-Za-z0-9]{16,}"),
    Shape("sendgrid_key", "SG.", r"[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}"),
    Shape("twilio_key", "SK", rf"{_HEX}{{32}}(?![A-Za-z0-9])", peek=rf"{_HEX}{{8}}"),
    # The number before the colon is the bot's public id.
    Shape(
        "telegram_bot_token",
        ":",
        r"(?<=[0-9]{5}:)(AA[A-Za-z0-9_-]{30,})",
        peek=r"AA[A-Za-z0-9_-]{30}",
        inside=True,
    ),
    # The id of the bot, a number, in base64; then a time; then the signature.
    Shape(
        "discord_token",
        "M N O",
        r"[A-Za-z0-9_-]{22,27}\.[A-Za-z0-9_-]{5,7}\.[A-Za-z0-9_-]{27,}",
        peek=r"[DTjz][AEIMQUYcgk][w-z0-5][MNO][DTjz]",
    ),
    Shape(
        "discord_webhook",
        "discord. discordapp.",
        r"com/api/(?:v[0-9]{1,2}/)?webhooks/[0-9]{5,25}/([A-Za-z0-9_-]{32,})",
    ),
    Shape("linear_key", "lin_api_", _WORD),
    Shape("notion_token", "ntn_", _WORD),
    Shape("shopify_token", "shpat_ shpca_ shppa_ shpss_", rf"{_HEX}{{32,}}"),
    Shape("supabase_key", "sbp_ sb_secret_", r"[A-Za-z0-9_-]{20,}"),
    # Anybody's
    Shape(
        "jwt",
        "eyJ",
        r"(?<![_-]eyJ)[A-Za-z0-9_-]{8,}+\.eyJ[A-Za-z0-9_-]{8,}+\.[A-Za-z0-9_-]{8,}",
    ),
    Shape(
        "bearer_token",
        "B b",
        r"(?:earer|EARER)(?: {1,4}|%20|\+)([A-Za-z0-9._~+/-]{8,}={0,2})",
        peek="earer[ %+]|EARER[ %+]",
        vague=True,
        accepts=is_bearer,
    ),
    Shape(
        "basic_credentials",
        "B b",
        r"asic {1,4}([A-Za-z0-9+/]{8,}={0,2})(?![A-Za-z0-9+/=])",
        peek="asic [A-Za-z0-9+/]{8}",
        vague=True,
        accepts=is_basic,
    ),
    # RFC 3986, section 3.2.1: user information ends at the last @ before the path.
    Shape(
        "url_password",
        ":",
        r"""//[^\s/?#@:"'`<>\\]{0,256}+:([^\s/?#"'`<>\\]{1,256})@""",
        peek="//",
        inside=True,
        vague=True,
        accepts=is_given,
    ),
)

_PEM_HEAD: Final = "-----BEGIN"
_PEM_BEGIN: Final = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_PEM_END: Final = re.compile(r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
# An RSA key of 16,384 bits has 12,600 characters, and lines of it may be numbered and indented.
_PEM_CHARS: Final = 32 * 1024
# Lines of a key of which more than the lines is in between, such as quotes; not the words of our marker.
_PEM_LINE: Final = re.compile(r"(?:(?<![A-Za-z0-9+/=\\\[:_])|(?<=\\[nrt]))[A-Za-z0-9+/]{4,}={0,2}")
_PEM_LONG_LINE: Final = re.compile(r"(?:(?<![A-Za-z0-9+/=\\\[:_])|(?<=\\[nrt]))[A-Za-z0-9+/]{32,}={0,2}")


def find_secrets(text: str) -> list[Span]:
    """Return where the secrets of a text are, in order and apart from each other."""
    found: list[Span] = []
    sure_until = judged_until = 0
    for window in range(0, len(text), _WINDOW_CHARS):
        window_end = window + _WINDOW_CHARS
        for hit in _HEADS.finditer(text, window, window_end + _PEEK_CHARS):
            at = hit.start()
            if at >= window_end:
                break
            if at < sure_until:
                continue
            last = text[at]
            spans, sure_until = _private_key(text, at) if last == "N" else ([], 0)
            spans = spans or _shapes_at(text, at)
            if not spans and at >= judged_until and (named_at := _NAMED_AT.get(last)) is not None:
                span, judged_until = named_at(text, at)
                spans = [] if span is None else [span]
            for span in spans:
                found.append(span)
                if not span.vague:
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


def _private_key(text: str, at: int) -> tuple[list[Span], int]:
    """Return the private key whose `BEGIN` ends at a place, and how far it has been looked for.

    One that is cut off, or stands in quoted lines, loses its lines one by one, since JSON has quotes of
    its own between them.
    """
    begin = _PEM_BEGIN.match(text, max(0, at + 1 - len(_PEM_HEAD)))
    if begin is None:
        return [], 0
    body_end = text.find("-----", begin.end(), begin.end() + _PEM_CHARS)
    end = None if body_end < 0 else _PEM_END.match(text, body_end)
    if end is not None and text.find('"', begin.end(), body_end) < 0:
        return [Span(begin.start(), end.end(), "private_key")], end.end()
    if body_end < 0:
        body_end = min(len(text), begin.end() + _PEM_CHARS)
    lines = (_PEM_LONG_LINE if end is None else _PEM_LINE).finditer(text, begin.end(), body_end)
    return [Span(*line.span(), "private_key") for line in lines], body_end


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
    """Return the shapes by the last character of their heads, then by the length of the head, then by head."""
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
