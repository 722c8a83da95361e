"""Secrets become markers wherever they stand, ordinary text stays as it is, and JSON stays JSON.

Invariants: any JSON text comes back as JSON of the same structure; masking a second time changes nothing;
the size of the windows changes nothing; time grows with the length of the text and no faster.

Secrets are put together here, so that scanners of repositories do not take them for real ones.
"""

import base64
import json
import re
import time
from hashlib import sha256
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trace_agent.core.events import Event, Failure, Json, Llm, Text, TextKind
from trace_agent.core.redact import Redactor
from trace_agent.core.secret_search import WINDOW_CHARS, find_secrets

WORD: Final = "aB3dE5fG7hJ9kL1mN2pQ4rS6tU8vW0xY1zA2bC3dE4fG5"
HEX: Final = "0123456789abcdef" * 4
JWT: Final = f"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjMifQ.{WORD}"
PEM_BODY: Final = f"{WORD}{WORD[:19]}\n{WORD}/+a=\n"
PEM: Final = f"-----BEGIN RSA PRIVATE KEY-----\n{PEM_BODY}-----END RSA PRIVATE KEY-----"
PGP: Final = (
    "-----BEGIN PGP PRIVATE KEY BLOCK-----\nVersion: GnuPG v2\nComment: a - b\n\n"
    f"{PEM_BODY}=aB3d\n-----END PGP PRIVATE KEY BLOCK-----"
)

SECRETS: Final[tuple[tuple[str, str], ...]] = (
    ("openai_key", f"sk-{WORD}"),
    ("openai_key", f"sk-proj-{WORD}_-{WORD}"),
    ("openai_key", f"sk-svcacct-{WORD}-{WORD}"),
    ("anthropic_key", f"sk-ant-api03-{WORD}-{WORD}-AA"),
    ("openrouter_key", f"sk-or-v1-{HEX}"),
    ("langfuse_key", "sk-lf-550e8400-e29b-41d4-a716-446655440000"),
    ("moonshot_key", f"sk-kimi-{WORD}"),
    ("cerebras_key", f"csk-{WORD}"),
    ("elevenlabs_key", f"sk_{HEX[:48]}"),
    ("fireworks_key", f"fw_{WORD[:24]}"),
    ("google_key", f"AIza{WORD[:33]}_-"),
    ("google_token", f"ya29.a0{WORD}"),
    ("google_secret", f"GOCSPX-{WORD[:28]}"),
    ("groq_key", f"gsk_{WORD}"),
    ("huggingface_token", f"hf_{WORD[:34]}"),
    ("langsmith_key", f"lsv2_pt_{HEX[:32]}_{HEX[:10]}"),
    ("nvidia_key", f"nvapi-{WORD}_-{WORD[:18]}"),
    ("perplexity_key", f"pplx-{WORD}"),
    ("pinecone_key", f"pcsk_{WORD[:6]}_{WORD}"),
    ("replicate_token", f"r8_{WORD[:37]}"),
    ("tavily_key", f"tvly-dev-{WORD[:32]}"),
    ("xai_key", f"xai-{WORD}{WORD[:35]}"),
    ("aws_access_key_id", "AKIAIOSFODNN7EXAMPLE"),
    ("aws_access_key_id", "ASIAIOSFODNN7EXAMPLE"),
    ("digitalocean_token", f"dop_v1_{HEX}"),
    ("fly_token", f"FlyV1 fm2_{WORD}+/{WORD}==,fm2_{WORD}"),
    ("fly_token", f"fo1_{WORD}"),
    ("fly_token", f"fm2_{WORD}/+=="),
    ("tailscale_key", f"tskey-auth-{WORD[:12]}-{WORD[:20]}"),
    ("vault_token", f"hvs.{WORD}"),
    ("age_key", f"AGE-SECRET-KEY-1{'QPZRY9X8GF2TVDW0'}{'S3JN54KHCE6MUA7L'}"),
    ("github_token", f"ghp_{WORD[:36]}"),
    ("github_token", f"gho_{WORD[:36]}"),
    ("github_token", f"ghu_{WORD[:36]}"),
    ("github_token", f"ghs_{WORD[:36]}"),
    ("github_token", f"ghr_{WORD[:36]}"),
    ("github_token", f"ghs_1234567_{JWT}"),
    ("github_token", f"github_pat_11{WORD[:20]}_{WORD}"),
    ("gitlab_token", f"glpat-{WORD[:18]}_-"),
    ("gitlab_token", f"glpat-{WORD[:27]}.01.0{WORD[:7].lower()}"),
    ("npm_token", f"npm_{WORD[:36]}"),
    ("pypi_token", f"pypi-AgEIcHlwaS5vcmcCJ{WORD}-_{WORD}"),
    ("docker_token", f"dckr_pat_{WORD[:25]}_-"),
    ("slack_token", f"xoxb-123456789012-1234567890123-{WORD[:24]}"),
    ("slack_token", f"xoxp-123456789012-1234567890123-{HEX[:32]}"),
    ("slack_token", f"xapp-1-A012345-1234567890123-{HEX}"),
    ("stripe_key", f"sk_live_{WORD[:24]}"),
    ("stripe_key", f"rk_live_{WORD[:24]}"),
    ("sendgrid_key", f"SG.{WORD[:20]}_-.{WORD[:43]}"),
    ("twilio_key", f"SK{HEX[:32]}"),
    ("discord_token", f"MTIzNDU2Nzg5MDEyMzQ1Njc4.GabcdE.{WORD[:38]}"),
    ("linear_key", f"lin_api_{WORD[:40]}"),
    ("notion_token", f"ntn_{WORD}"),
    ("shopify_token", f"shpat_{HEX[:32]}"),
    ("supabase_key", f"sb_secret_{WORD[:22]}_{WORD[:8]}"),
    ("jwt", JWT),
    ("private_key", PEM),
    ("private_key", PGP),
    ("private_key", PEM.replace(" RSA", "")),
    ("private_key", PEM.replace("RSA", "OPENSSH")),
)

# Of these a part is masked: what stands between « and ».
IN_PLACE: Final[tuple[tuple[str, str], ...]] = (
    # headers
    ("authorization", f"Authorization: Bearer «{WORD}»"),
    ("authorization", "authorization: basic «dXNlcjpwYXNz»"),
    ("authorization", "Authorization: token «abcd1234efgh»"),
    ("authorization", "Proxy-Authorization: «abcd1234efgh»"),
    ("bearer_token", "curl -H 'Bearer «abcd1234efgh==»'"),
    ("bearer_token", "bearer%20«abcd1234efgh»"),
    ("basic_credentials", "it sends Basic «dXNlcjpwYXNzd29yZA==» each time"),
    ("api_key", "X-Api-Key: «abcd1234efgh»"),
    # URLs
    ("url_password", "postgres://user:«p4ss»@localhost:5432/db"),
    ("url_password", "redis://:«hunter2»@cache"),
    ("url_password", "https://user:«p@ss:word»@host/path?a=b@c"),
    ("url_password", r"https:\/\/user:«pass»@host\/path"),
    ("slack_webhook", f"https://hooks.slack.com/services/«T0123/B0123/{WORD[:24]}»"),
    ("discord_webhook", f"https://discord.com/api/webhooks/123456789/«{WORD}_-»"),
    ("telegram_bot_token", f"https://api.telegram.org/bot1234567890:«AA{WORD[:33]}»/getMe"),
    # shells
    ("password", "PASSWORD=«correcthorse»"),
    ("password", "export DB_PASSWORD=«Sup3r$ecret!»"),
    ("password", "PASSWORD=«$ecret-123!» OTHER_PASSWORD='«#1changeling»'"),
    ("access_key", "AWS_SECRET_ACCESS_KEY=«wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY»"),
    ("api_key", "run --api-key «abcd1234efgh» now"),
    ("password", "run --db-password='«hunter22»'"),
    ("token", "deploy\n--token «abcd1234efgh»"),
    # configurations and programs
    ("access_key", "aws_secret_access_key = «/JalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY»"),
    ("access_key", "AccountName=a;AccountKey=«Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFs==»;B=c"),
    ("password", "password: «hunter22»"),
    ("password", "password      =      «hunter22»"),
    ("password", "passwd := `«hunter22»`"),
    ("password", "{'password' => '«correct-horse»'}"),
    ("secret", "client_secret=b'«abc123DEF456»'"),
    ("secret", "the secret: «9f8e7d6c5b4a39281706.»"),
    ("token", "url?access_token=«abcd1234efgh»&page=2"),
    ("token", "if token == '«abcd1234efgh»':"),
    ("private_key", 'privateKey: "«MIIEvQIBADANBgkqhkiG9w0BAQEFAASC»"'),
    # JSON in texts
    ("password", '{"password": "«correcthorse»"}'),
    ("password", '{"password":"«a,b]c}d:e»"}'),
    ("password", r'{"password":"«a\\b\"c'.replace(r"\"c", "cd") + 'efgh»"}'),
    ("api_key", '{"apiKey":"«k-1234567890»"}'),
    ("api_key", '{"apiKey":"«my-local-key»"}'),
    ("api_key", r"{\"api_key\": \"«abcdefgh12345678»\"}"),
    ("token", r"{\\\"botToken\\\":\\\"«abcd1234efgh»\\\"}"),
    ("token", '["--token", "«abcd1234efgh»"]'),
    ("secret", r'{"secret":"«abcd1234efgh»\n"}'),
    ("token", '{"token":"«abcd1234efgh»'),  # cut off
    # escapes of terminals
    ("openai_key", f"\x1b[31m«sk-{WORD}»\x1b[0m"),
    ("github_token", f"a\\x«ghp_{WORD[:36]}»"),
    ("openai_key", f"?key%3D«sk-{WORD}»&b"),
)

ORDINARY: Final = (
    "token: the next one",
    "The password: at least 12 characters, the secret: something else entirely.",
    "Enter your password:\n\nhunter22 was the old one",
    "bearer of good news, Bearer authentication, Basic authentication, basic concepts",
    "Authorization: required for all of them",
    "a -----BEGIN PRIVATE KEY----- is how a key starts, which nobody needs to hide.",
    "token = get_token()",
    "token = get_token2(x)",
    "token = tokens2024[0]",
    "const apiKey = process.env.API_KEY_1",
    "secret = config.secret_v2",
    "SECRET_KEY = 'aws_secret_access_key'",
    "secret = self.config.secret2",
    "def f(password: str, token: Optional[str] = None)",
    "login(password=password, token=user_token)",
    "login(password=user_password2, token=None)",
    "password = getpass.getpass()",
    "token::Something1, arn:aws:secretsmanager:us-west-2:123456789012:secret:MySecret-a1b2c3",
    '{"AWS::IAM::AccessKey": "72c2d9dd90025459"}',
    "api_key=$API_KEY api_key=${API_KEY_123} api_key=%API_KEY_1% token={{ vault_token_1 }}",
    "password=<your-password-1> API_KEY=your-api-key-here1 token=xxxxxxxxxxxx1 secret=example-123",
    '{"apiKey": "OPENAI_API_KEY_2"}',
    "PWD=/root/dir1 pwd=~/src1234 pwd=./build-2",
    r'{"pwd": "C:\\Users\\joe1"}',
    "token: base64encoded, secret: AES256-encrypted",
    "max_tokens=4096, token_count: 12345678abc, tokenizer: cl100k_base, total_token: 12345678",
    '{"next_page_token": "CAUQAA1234", "eos_token": "<|im_end|>", "primary_key": "abc12345"}',
    '{"password": {"type": "string", "minLength": 8}, "password2": 12345678, "token": 12345678}',
    '{"password": "two words", "secret": "short1"}',
    "run --password PASSWORD --token-file /x/y1234567 --password-stdin -- --token",
    "postgres://user:$PASSWORD@host postgres://user:${PW1}@host redis://host:6379/0",
    "http://localhost:3000/user@example.com https://packages.example.org:443/@scope/pkg",
    "550e8400-e29b-41d4-a716-446655440000",
    "commit 9f8e7d6c5b4a392817069f8e7d6c5b4a39281706",
    f"sha256:{HEX}",
    f"task-{HEX} disk-{WORD} SK{HEX} AKIAIOSFODNN7EXAMPLE2",
    f"hf_transformers_library npm_config_registry ghs_installation_token_helper sk-learn-contrib {WORD}",
    "eyJhbGciOiJIUzI1NiJ9 eyJhbGciOiJIUzI1NiJ9.payload.signature",
    f"12:AA{WORD}",
    "| --- | --- |\n|-----|-----|\n```bash\nls --all\n```\n**token** and `secret`",
    f"-----BEGIN CERTIFICATE-----\n{PEM_BODY}-----END CERTIFICATE-----",
    f"-----BEGIN PUBLIC KEY-----\n{PEM_BODY}-----END PUBLIC KEY-----",
    "[redacted:token] password=[redacted:password] https://u:[redacted:url_password]@h",
)

FRAGMENTS: Final = (
    *(secret for _, secret in SECRETS),
    *(text.replace("«", "").replace("»", "") for _, text in IN_PLACE),
    *("token", "password", "api_key: ", "secret=", "--token ", "Authorization: ", "Bearer "),
    *("sk-", "ghp_", "npm_", "rk_live_", "fo1_", "eyJ"),
    *(*" =:\"'\\\n\t\x1b\x0c\x00\x1f@/,]}{[_.-…é漢\u2028", "\\n", '\\"', "://", "user:", "%3D", "\x1b[31m"),
    *(
        "-----BEGIN PRIVATE KEY-----",
        "-----END PRIVATE KEY-----",
        WORD,
        HEX[:32],
        "a1b2c3d4",
        "[redacted:token]",
    ),
    *("1234567890123456", "correcthorse"),
)
texts = st.lists(st.sampled_from(FRAGMENTS), max_size=8).map("".join)
values = st.recursive(
    st.one_of(
        texts, st.sampled_from([12345678, 1234567890123456789, 0.12345678901234567, 1e300, None, True])
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)),
    max_leaves=8,
)


def compact(value: object) -> str:
    """Return JSON text as events hold it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def structure(text: str) -> object:
    """Return what JSON text holds, with every string the same and without names, which can become equal."""

    def blank(value: object) -> object:
        return (
            [blank(item) for item in value]
            if isinstance(value, list)
            else value
            if not isinstance(value, str)
            else ""
        )

    return blank(json.loads(text, object_pairs_hook=lambda pairs: [item for _, item in pairs]))


def noise(size: int) -> bytes:
    """Return bytes without any pattern, always the same ones."""
    return b"".join(sha256(number.to_bytes(4)).digest() for number in range(size // 32 + 1))[:size]


@pytest.mark.parametrize(("name", "secret"), SECRETS)
def test_secret_becomes_a_marker(name: str, secret: str) -> None:
    """A secret in a sentence, a program, a list and a line of its own becomes the marker of its kind."""
    redact = Redactor().redact
    marker = f"[redacted:{name}]"

    assert redact(secret) == marker
    assert redact(f"my key is {secret}, keep it") == f"my key is {marker}, keep it"
    assert redact(f"f('{secret}')") == f"f('{marker}')"
    assert redact(f"密钥{secret}。\n") == f"密钥{marker}。\n"
    assert redact(f"{secret}\n{secret}\r\n\t{secret}") == f"{marker}\n{marker}\r\n\t{marker}"


@pytest.mark.parametrize(("name", "secret"), SECRETS)
def test_secret_within_json(name: str, secret: str) -> None:
    """A secret in JSON, and in JSON within JSON, is masked with the escapes around and within it."""
    redact = Redactor().redact_json
    inner: dict[str, Json] = {"content": f'a\n{secret}\n"b"', "list": [secret, 1, f"\t{secret}"]}
    masked = {
        "content": f'a\n[redacted:{name}]\n"b"',
        "list": [f"[redacted:{name}]", 1, f"\t[redacted:{name}]"],
    }
    outer = json.loads(redact(compact({"arguments": compact(inner)})))

    assert json.loads(redact(compact(inner))) == masked
    assert json.loads(outer["arguments"]) == masked


@pytest.mark.parametrize(("name", "text"), IN_PLACE)
def test_part_of_a_text_is_masked(name: str, text: str) -> None:
    """Where only the place tells, the secret is masked and its surroundings stay."""
    given_text = text.replace("«", "").replace("»", "")
    expected = re.sub("«[^»]*»", lambda _: f"[redacted:{name}]", text, flags=re.DOTALL)
    json_text = compact({"text": given_text})

    assert Redactor().redact(given_text) == expected
    assert json.loads(Redactor().redact_json(json_text)) == {"text": expected}


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_text_stays(text: str) -> None:
    """Prose, programs, placeholders, hashes, ids and what is masked already are let be."""
    json_text = compact({"text": text})

    assert Redactor().redact(text) is text
    assert Redactor().redact_json(json_text) is json_text


def test_image_stays() -> None:
    """Random bytes in base64, as images come, are no secrets."""
    text = compact({"url": f"data:image/png;base64,{base64.b64encode(noise(600_000)).decode()}"})

    assert Redactor().redact_json(text) is text


def test_specific_shape_names_what_its_place_only_hints_at() -> None:
    """A token of GitHub is named so, whether a header, a field or a URL holds it."""
    token = f"ghp_{WORD[:36]}"
    redact = Redactor().redact

    assert redact(f"Authorization: Bearer {token}") == "Authorization: Bearer [redacted:github_token]"
    assert redact(f'"token": "{token}"') == '"token": "[redacted:github_token]"'
    assert redact(f"https://x:{token}@github.com") == "https://x:[redacted:github_token]@github.com"
    assert redact(f"password='a!{token}!'") == "password='[redacted:github_token]'"


def test_numbers_under_secret_names_stay_json() -> None:
    """A number that JSON holds under the name of a secret is no text, so it stays."""
    text = compact(
        {"password": 12345678901, "authorization": 1234567890, "x token:": [12345678, 12345678], "y": "z"}
    )

    assert Redactor().redact_json(text) is text


def test_private_key_that_is_cut_off() -> None:
    """A private key without its end loses its lines; what follows it stays."""
    head = "-----BEGIN PRIVATE KEY-----"
    line = f"[redacted:private_key]\n{head[:0]}"
    cut = f"{head}\n{PEM_BODY}and then words, and more words."
    numbered = f" 1\t{head}\n 2\t{WORD}\n"

    assert Redactor().redact(cut) == f"{head}\n{line}{line}and then words, and more words."
    assert Redactor().redact(numbered) == f" 1\t{head}\n 2\t[redacted:private_key]\n"
    assert json.loads(Redactor().redact_json(compact([cut]))) == [Redactor().redact(cut)]


def test_private_key_in_a_list_of_lines() -> None:
    """A private key whose lines stand in quotes of their own loses them one by one, and stays JSON."""
    lines = PEM.split("\n")
    masked = Redactor().redact_json(compact(lines))

    assert json.loads(masked) == [lines[0], *["[redacted:private_key]"] * (len(lines) - 2), lines[-1]]


def test_text_with_a_private_key_keeps_other_secrets_masked() -> None:
    """What is not a line of a broken private key is searched as any other text."""
    text = f"-----BEGIN PRIVATE KEY-----\npassword=hunter22\n{WORD}\n"

    assert Redactor().redact(text) == (
        "-----BEGIN PRIVATE KEY-----\npassword=[redacted:password]\n[redacted:private_key]\n"
    )


@pytest.mark.parametrize("name_and_secret", [SECRETS[0], SECRETS[-1], ("token", "token=abcd1234efgh")])
def test_secret_across_the_border_of_a_window(name_and_secret: tuple[str, str]) -> None:
    """A secret is found wherever the border of a window falls into it."""
    name, secret = name_and_secret
    expected = (
        secret[: -len("abcd1234efgh")] + f"[redacted:{name}]" if name == "token" else f"[redacted:{name}]"
    )
    found = {
        Redactor().redact(f"{' ' * (WINDOW_CHARS - before)}{secret} and {secret}\n").lstrip()
        for before in range(-1, len(secret) + 2)
    }

    assert found == {f"{expected} and {expected}\n"}


def test_long_secret_is_masked_to_its_end() -> None:
    """A secret longer than several windows leaves no rest."""
    text = f"a sk-proj-{WORD * 2000} b"

    assert Redactor().redact(text) == "a [redacted:openai_key] b"


@given(texts, st.sampled_from([1, 2, 7, 50]))
def test_windows_make_no_difference(text: str, window_chars: int) -> None:
    """The same secrets are found whatever the size of the windows."""
    assert find_secrets(text, window_chars) == find_secrets(text)


@given(values)
def test_json_stays_json(value: Json) -> None:
    """JSON of any value, also as a text in JSON, comes back as JSON of the same structure."""
    redact = Redactor().redact_json
    text = compact(value)
    nested = redact(compact([text]))

    assert structure(redact(text)) == structure(text)
    assert structure(json.loads(nested)[0]) == structure(text)


@given(texts, values)
def test_masking_twice_changes_nothing(text: str, value: Json) -> None:
    """What has been masked is clean."""
    redactor = Redactor()
    masked, masked_json = redactor.redact(text), redactor.redact_json(compact(value))

    assert redactor.redact(masked) is masked
    assert redactor.redact_json(masked_json) is masked_json


def test_patterns_of_the_user() -> None:
    """Patterns of the user are masked in texts, and in the strings and names of JSON."""
    redactor = Redactor([r"ACME-[0-9]{4}", r"(?i)\bproject\s+x\b", r"[0-9]{16}"])
    text = compact(
        {"ACME-1234": ["about project\nX", 1234567890123456, None, "1234567890123456"], "b": {"c": "d"}}
    )

    assert redactor.redact("of ACME-1234: Project  X") == "of [redacted:custom]: [redacted:custom]"
    assert json.loads(redactor.redact_json(text)) == {
        "[redacted:custom]": ["about [redacted:custom]", 1234567890123456, None, "[redacted:custom]"],
        "b": {"c": "d"},
    }


def test_patterns_of_the_user_leave_the_rest_alone() -> None:
    """Text that no pattern matches is the same object, and JSON is not written anew."""
    redactor = Redactor(["ACME"])
    text, json_text = "nothing", '{"a": ["b", 1.50], "c":{}}'

    assert redactor.redact(text) is text
    assert redactor.redact_json(json_text) is json_text


def test_patterns_of_the_user_spare_markers() -> None:
    """A pattern that would match a marker, or nothing at all, changes neither."""
    redactor = Redactor(["[a-z]+", "x*(?=-)"])

    assert (
        redactor.redact("abc 1-2 AKIAIOSFODNN7EXAMPLE")
        == "[redacted:custom] 1-2 [redacted:aws_access_key_id]"
    )
    assert redactor.redact("[redacted:custom] 1") == "[redacted:custom] 1"


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["ab", "abb ", "x12y", f"x{'7' * 300}y", "b", "\n", "é"]), st.integers(0, 3000)
        ),
        max_size=12,
    )
)
def test_patterns_of_the_user_see_no_windows(pieces: list[tuple[str, int]]) -> None:
    """Matches of ordinary length are those of the whole text, wherever the borders of windows fall."""
    text = "".join(f"{piece}{'.' * gap}" for piece, gap in pieces)
    pattern = r"x[0-9]+y|\bab+\b|^b$"

    assert Redactor([pattern]).redact(text) == re.sub(pattern, "[redacted:custom]", text)


def test_match_longer_than_a_window_is_masked() -> None:
    """A match that goes on and on is masked to its end, if in several pieces."""
    masked = Redactor(["a+"]).redact(f"b{'a' * 20_000}b")

    assert re.fullmatch(r"b(\[redacted:custom\])+b", masked)


def test_clean_texts_are_remembered_as_what_they_were() -> None:
    """A text that is clean as text is still searched as JSON, whose strings a pattern sees differently."""
    redactor = Redactor(["line\nbreak"])
    text = compact(["line\nbreak", " " * 1000])

    assert redactor.redact(text) is text
    assert redactor.redact(text) is text
    assert json.loads(redactor.redact_json(text))[0] == "[redacted:custom]"


def test_memory_of_clean_texts_is_bounded() -> None:
    """However many clean texts come by, few are remembered."""
    redactor = Redactor()
    for number in range(3000):
        redactor.redact(f"{number:01000d}")

    assert len(redactor._clean) <= 1024


COMMON: Final = ("id", True, 1.0, 1, "agent", "session", "run", "trace", "span")


def test_events_lose_their_secrets() -> None:
    """Every field of an event that holds words is masked; what tells events apart is not."""
    secret, marker = f"ghp_{WORD[:36]}", "[redacted:github_token]"
    call = Llm(
        *COMMON,
        attributes=compact({"a": secret}),
        seen_by="udp",
        model=secret,
        input=Text(TextKind.LIST, (compact({"content": secret}), '"clean"')),
        output=Text(TextKind.TEXT, (f'"{secret}"',)),
        usage=compact({"note": secret}),
        error_message=secret,
    )
    masked = Redactor().redact_event(call)

    assert masked == Llm(
        *COMMON,
        attributes=compact({"a": marker}),
        seen_by="udp",
        model=secret,
        input=Text(TextKind.LIST, (compact({"content": marker}), '"clean"')),
        output=Text(TextKind.TEXT, (f'"{marker}"',)),
        usage=compact({"note": marker}),
        error_message=marker,
    )
    failure = Failure(
        *COMMON, attributes=None, kind="x", message=secret, stack=f"at {secret}\n", source=secret
    )
    assert Redactor().redact_event(failure) == Failure(
        *COMMON, attributes=None, kind="x", message=marker, stack=f"at {marker}\n", source=secret
    )
    event = Event(*COMMON, attributes=compact([secret]), name=secret)
    assert Redactor().redact_event(event) == Event(*COMMON, attributes=compact([marker]), name=secret)


@pytest.mark.parametrize(
    "event",
    [
        Llm(*COMMON, attributes=None, seen_by="udp"),
        Llm(
            *COMMON,
            attributes='{"a":1}',
            seen_by="udp",
            input=Text(TextKind.LIST, ('"a"',)),
            output=Text(TextKind.JSON, ("{}",)),
            usage="{}",
            error_message="no",
        ),
        Event(*COMMON, attributes='{"a":1}', name="n"),
        Failure(*COMMON, attributes=None, kind="x", message="m", stack="s"),
    ],
)
def test_clean_events_are_not_copied(event: Llm | Event | Failure) -> None:
    """An event without secrets comes back as it is."""
    assert Redactor().redact_event(event) is event


HOSTILE: Final = (
    *("sk-", "_ghu_", "hf_aaaaaaaa", "-sk-ant-", "ghs_1_eyJ", "-eyJaaaaaaaa.eyJ", "eyJaaaaaaaa.eyJaaaaaaaa."),
    *("SG.aaaaaaaaaaaaaaaaaaaa.", "MTIwMTIw", "12345:AA", "xoxb-", "hooks.slack.com/services/"),
    *(
        "-----BEGIN PRIVATE KEY-----",
        '-----BEGIN PRIVATE KEY-----"AAAAAAAAAAAAAAAAAAAA ',
        "://a:b",
        "a://a:b ",
    ),
    *(
        "Bearer a1",
        "Basic aaaaaaaa",
        "authorization=Basic ",
        "token=",
        "token='",
        'password="',
        "password: a1 ",
    ),
    *("--token a1 ", '\\"token\\":\\"', "token    =    ", "token=a(", "=a1b2c3token", "token=\\\\a", "a\\b"),
)


@pytest.mark.slow
@pytest.mark.parametrize("unit", HOSTILE)
def test_time_is_linear(unit: str) -> None:
    """A megabyte of what nearly is a secret takes about eight times as long as an eighth of it."""

    def seconds(size: int) -> float:
        text = (unit * (size // len(unit) + 1))[:size]
        began = time.thread_time()
        Redactor().redact(text)
        return time.thread_time() - began

    small = max(seconds(131_072) for _ in range(3))

    # Quadratic time would be 64 times as much.
    assert seconds(1_048_576) < 32 * small
