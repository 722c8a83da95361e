"""Know what secrets look like by themselves: a table of shapes, which `secret_search` looks for.

A shape has heads: texts that begin it and end in a character that is rare in other text (`sk-`, `ghp_`,
`SG.`), since those characters are what is searched for. Its tail is matched where a head stands.

Time stays linear if new shapes keep to this: no repetition within a repetition; a tail that can fail after a
run without bound must not be tried twice in that run, so its head has a character that the run cannot have,
or a lookbehind refuses a start within it. Other tails take all they have run over, or are bounded.

JSON stays JSON if they keep to that: a tail takes no quote and no backslash.
"""

from collections.abc import Callable
from typing import Final

from attrs import frozen

from trace_agent.core.secret_values import is_basic, is_bearer, is_given

__all__ = ["SHAPES", "Shape"]


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
    Shape("fly_token", "FlyV", r"1 [A-Za-z0-9_+/=,-]{20,}(?<!,)"),
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
    # RFC 3986, section 3.2.1: user information ends at the last @ before the path. Some JSON escapes slashes.
    Shape(
        "url_password",
        ":",
        r"""(?:\\{0,3}/){2}[^\s/?#@:"'`<>\\]{0,256}+:([^\s/?#"'`<>\\]{1,256})@""",
        peek=r"\\{0,3}/\\{0,3}/",
        inside=True,
        vague=True,
        accepts=is_given,
    ),
)
