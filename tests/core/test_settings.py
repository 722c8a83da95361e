"""Settings: whatever environment and file hold, `load` returns `Settings` or raises `SettingsError`."""

from collections.abc import Mapping

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trace_agent.core.errors import SettingsError
from trace_agent.core.settings import (
    Address,
    ConfigFile,
    EventType,
    LogFormat,
    LogLevel,
    MachineFacts,
    PushFormat,
    Settings,
    Switch,
    TextPolicy,
    config_files,
    describe,
    load,
    rows_of,
)

FACTS = MachineFacts(
    uid=1000,
    home="/home/ann",
    xdg_runtime_dir="/run/user/1000",
    xdg_state_home=None,
    data_writable=False,
    openclaw_home_exists=False,
)
NAMES = [row.name for row in rows_of(Settings)]

# name, text as a variable holds it, what it becomes
GOOD: list[tuple[str, str, object]] = [
    ("listen", "127.0.0.1:9191", Address("127.0.0.1", 9191)),
    ("listen", "[::1]:9090", Address("::1", 9090)),
    ("listen", "[0:0::1]:0", Address("::1", 0)),
    ("listen", "LocalHost:9090", Address("localhost", 9090)),
    ("listen", "9191", Address("localhost", 9191)),
    ("listen", "0", Address("localhost", 0)),
    ("otlp_listen", "127.0.0.1:4318", Address("127.0.0.1", 4318)),
    ("otlp_listen", "off", None),
    ("socket", "/srv/agent.sock", "/srv/agent.sock"),
    ("socket", "~/agent.sock", "/home/ann/agent.sock"),
    ("socket_mode", "0660", 0o660),
    ("socket_mode", "0o666", 0o666),
    ("socket_mode", "600", 0o600),
    ("socket_group", "agents", "agents"),
    ("socket_group", "none", None),
    ("allowed_hosts", "Agent.Lan, 10.0.0.1,[::0:2],FE80::1,", ("agent.lan", "10.0.0.1", "::2", "fe80::1")),
    ("token", "s3cret/+=", "s3cret/+="),
    ("db", "traces.db", "traces.db"),
    ("db", "~/t r.db", "/home/ann/t r.db"),
    ("flush_interval_s", "0.25", 0.25),
    ("ring_mb", "32", 32),
    ("max_series", "5", 5),
    ("prices_file", "~/prices.toml", "/home/ann/prices.toml"),
    ("text", "Truncate", TextPolicy.TRUNCATE),
    ("max_text_kb", "16", 16),
    ("redact", "no", False),
    ("redact", "ON", True),
    ("redact_patterns", r"key-\d{3\,4}, pin=\d+", (r"key-\d{3,4}", r"pin=\d+")),
    ("retention_days", "0.5", 0.5),
    ("max_db_mb", "8", 8),
    ("min_free_mb", "0", 0),
    ("metrics_interval_s", "0", 0.0),
    ("metrics_interval_s", "1", 1.0),
    ("watch", "openclaw, my agent", ("openclaw", "my agent")),
    ("watch", "", ()),
    ("watch", "none", ()),
    ("openclaw_home", "/opt/openclaw", "/opt/openclaw"),
    ("openclaw_logs", "off", Switch.OFF),
    ("openclaw_transcripts", "on", Switch.ON),
    ("push_url", "https://up.example:8443/v1?team=a", "https://up.example:8443/v1?team=a"),
    ("push_url", "http://[::1]:4318/", "http://[::1]:4318/"),
    ("push_url", "off", None),
    ("push_format", "otlp", PushFormat.OTLP),
    ("push_interval_s", "60", 60.0),
    ("push_ca_file", "/etc/ca.pem", "/etc/ca.pem"),
    ("push_alarm_s", "600", 600.0),
    ("push_token", "t0ken", "t0ken"),
    (
        "push_headers",
        r"X-Team: a b, X-Key=k=1\,2",
        (("X-Team", "a b"), ("X-Key", "k=1,2")),
    ),
    ("push_max_mb", "1", 1),
    ("push_text", "0", False),
    ("budget_usd_day", "12.5", 12.5),
    ("error_rate_alarm", "0.2", 0.2),
    ("memory_alarm", "off", None),
    ("disk_alarm", "1", 1.0),
    ("alarm_command", "notify --to 'the crew'", ("notify", "--to", "the crew")),
    ("alarm_command", "off", ()),
    ("health_urls", "auto,http://localhost:18789/healthz", ("auto", "http://localhost:18789/healthz")),
    ("health_urls", "off", ()),
    ("dns_probe", "Example.com", "example.com"),
    ("log_level", "debug", LogLevel.DEBUG),
]

# name, text as a variable holds it, a part of what the remedy says
BAD: list[tuple[str, str, str]] = [
    ("listen", ":9090", "127.0.0.1:9090, [::1]:9090, localhost:9090, 9090"),
    ("listen", "127.0.0.1", "with a port"),
    ("listen", "127.0.0.1:65536", "with a port"),
    ("listen", "127.0.0.1:٣", "with a port"),
    ("listen", "::1:9090", "[::1]:9090"),
    ("listen", "[127.0.0.1]:9090", "with a port"),
    ("listen", "agent.lan:9090", "IP address or localhost"),
    ("listen", "70000", "a port alone"),
    ("listen", "0.0.0.0:9090", "set a token too"),
    ("listen", "[::]:9090", "set a token too"),
    ("otlp_listen", "192.168.1.5:4318", "set a token too"),
    ("otlp_listen", "127.0.0.1:9090", "`listen` has already"),
    ("socket", "/" + "s" * 107, "at most 107 bytes"),
    ("socket_mode", "0400", "read and write for the owner"),
    ("socket_mode", "0999", "octal"),
    ("socket_group", "a\x1b[31m", "printable"),
    ("allowed_hosts", "agent.lan,http://x", "item 2 must be a host name"),
    ("allowed_hosts", "agent.lan:9090", "without a port"),
    ("allowed_hosts", "*", "host name"),
    ("token", "two words", "without spaces"),
    ("db", "~bob/t.db", "~/"),
    ("flush_interval_s", "0", "from 0.01 to 60"),
    ("flush_interval_s", "nan", "a number"),
    ("flush_interval_s", "1e1", "a number"),
    ("ring_mb", "0", "whole number from 1 to 4096"),
    ("ring_mb", "1.5", "whole number"),
    ("ring_mb", "9" * 50, "whole number"),
    ("max_series", "-1", "whole number from 1"),
    ("text", "some", "full, truncate, hash, off"),
    ("max_text_kb", "0", "from 1 to 16384"),
    ("redact", "maybe", "true, false, 1, 0, yes, no, on, off"),
    ("redact_patterns", "ok,(", "item 2 must be a regular expression"),
    ("redact_patterns", "[[a]", "Possible nested set"),
    ("redact_patterns", "a*", "does not match the empty text"),
    ("retention_days", "0", "from 0.01"),
    ("max_db_mb", "7", "whole number from 8"),
    ("min_free_mb", "-1", "whole number from 0"),
    ("metrics_interval_s", "0.01", "0, or a number from 0.1"),
    ("openclaw_logs", "perhaps", "auto, on, off"),
    ("push_url", "ftp://up.example/", "https://host:port/path"),
    ("push_url", "https://", "https://host:port/path"),
    ("push_url", "https://up.example:99999/", "https://host:port/path"),
    ("push_url", "https://[::1/", "https://host:port/path"),
    ("push_url", "https://up.example/a b", "https://host:port/path"),
    ("push_url", "https://up.example/#x", "https://host:port/path"),
    ("push_format", "xml", "json, otlp"),
    ("push_interval_s", "0.5", "from 1 to 86400"),
    ("push_alarm_s", "soon", "a number from 1"),
    ("push_headers", "no-colon", "`Name: value`"),
    ("push_headers", "Bad Name: x", "`Name: value`"),
    ("push_max_mb", "65", "from 1 to 64"),
    ("push_text", "x", "must be one of"),
    ("budget_usd_day", "0", "from 0.01"),
    ("error_rate_alarm", "20", "from 0.01 to 1"),
    ("memory_alarm", "90%", "from 0.01 to 1"),
    ("disk_alarm", "0", "from 0.01 to 1"),
    ("alarm_command", "notify 'open", "closed quotes"),
    ("health_urls", "localhost", "item 1 must be a URL"),
    ("dns_probe", "a..b", "host name"),
    ("log_level", "loud", "debug, info, warning, error"),
    ("db", "tr\udcffaces.db", "printable"),
]


def of_env(**settings: str) -> Settings:
    """Load settings from variables named without their prefix."""
    return load({f"TRACE_AGENT_{name.upper()}": text for name, text in settings.items()}, [], FACTS)


def of_file(**table: object) -> Settings:
    """Load settings from a parsed file."""
    return load({}, [("agent.toml", table)], FACTS)


def shown_of(settings: Settings) -> dict[str, tuple[str, str]]:
    """Return value and origin of each described setting by its name."""
    return {line.name: (line.value, line.origin) for line in describe(settings)}


def test_tables_here_cover_every_setting() -> None:
    """Each setting that a variable can hold has a value that is accepted in this file."""
    in_file_only = {row.name for row in rows_of(Settings) if row.table is not None}

    assert {"upstream", "log"} == in_file_only
    assert set(NAMES) - in_file_only == {name for name, _, _ in GOOD}


@pytest.mark.parametrize(("name", "text", "expected"), GOOD)
def test_good_value(name: str, text: str, expected: object) -> None:
    """A valid variable becomes a typed value whose origin is remembered."""
    settings = of_env(**{name: f" {text} "})

    assert expected == getattr(settings, name)
    assert f"env TRACE_AGENT_{name.upper()}" == settings.origins[name]


@pytest.mark.parametrize(("name", "text", "expected"), GOOD)
def test_file_holds_what_variables_hold(name: str, text: str, expected: object) -> None:
    """The same text in the file becomes the same value."""
    settings = of_file(**{name: text})

    assert expected == getattr(settings, name)
    assert settings.origins[name] == "file agent.toml"


@pytest.mark.parametrize(("name", "text", "remedy"), BAD)
def test_bad_value(name: str, text: str, remedy: str) -> None:
    """A value that cannot be used stops the start, naming the variable and what would be valid."""
    with pytest.raises(SettingsError) as caught:
        of_env(**{name: text})

    assert f"TRACE_AGENT_{name.upper()}" == caught.value.key
    assert remedy in caught.value.remedy
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("listen", 9191, Address("localhost", 9191)),
        ("otlp_listen", False, None),
        ("ring_mb", 4, 4),
        ("flush_interval_s", 2, 2.0),
        ("text", False, TextPolicy.OFF),
        ("openclaw_logs", True, Switch.ON),
        ("redact", True, True),
        ("redact", 1, True),
        ("watch", ["a", "b,c"], ("a", "b,c")),
        ("watch", [], ()),
        ("memory_alarm", False, None),
        ("alarm_command", ["notify", "the crew"], ("notify", "the crew")),
        ("push_headers", {"X-Key": "a,b"}, (("X-Key", "a,b"),)),
        ("push_headers", ["X-Key: a,b"], (("X-Key", "a,b"),)),
        ("token", "", None),
    ],
)
def test_toml_types(name: str, value: object, expected: object) -> None:
    """TOML's own kinds are understood where they fit."""
    assert expected == getattr(of_file(**{name: value}), name)


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("listen", -1, "-1"),
        ("listen", True, "true"),
        ("socket_mode", 600, "600"),
        ("ring_mb", 4.0, "4"),
        ("ring_mb", True, "true"),
        ("flush_interval_s", 16**500, "a huge number"),
        ("flush_interval_s", float("nan"), "nan"),
        ("watch", ["a", 1], "a list of 2"),
        ("watch", {"a": "b"}, "a table"),
        ("alarm_command", [], "none"),
        ("alarm_command", ["notify", ""], "a list of 2"),
        ("push_headers", {"X": 1}, "****"),
        ("push_token", 12345, "****"),
        ("push_url", 1, "1"),
        ("redact", 1.0, "1"),
        ("redact", 2, "2"),
        ("dns_probe", ["a"], "a list of 1"),
        ("upstream", {"url": "http://localhost"}, "a table"),
        ("upstream", ["http://localhost"], "a list of 1"),
    ],
)
def test_toml_types_that_do_not_fit(name: str, value: object, shown: str) -> None:
    """TOML's own kinds are refused where they do not fit; the message shows them and the file."""
    with pytest.raises(SettingsError) as caught:
        of_file(**{name: value})

    assert name == caught.value.key
    assert shown == caught.value.value
    assert caught.value.remedy.endswith("(file agent.toml)")


def test_integer_too_long_to_print() -> None:
    """Hexadecimal integers of TOML have no limit, while Python refuses to print beyond 4,300 digits."""
    with pytest.raises(SettingsError, match="a huge number: must be a whole number"):
        of_file(ring_mb=16**5000)


def test_variable_beats_file_beats_default() -> None:
    """Precedence is per setting, and each origin is known."""
    settings = load(
        {"TRACE_AGENT_RING_MB": "4"},
        [("agent.toml", {"ring_mb": 8, "max_series": 9})],
        FACTS,
    )

    assert (settings.ring_mb, settings.max_series, settings.max_db_mb) == (4, 9, 256)
    assert settings.origins["ring_mb"] == "env TRACE_AGENT_RING_MB"
    assert settings.origins["max_series"] == "file agent.toml"
    assert settings.origins["max_db_mb"] == "default"


def test_only_the_first_file_counts() -> None:
    """A later file adds nothing, not even its errors."""
    settings = load({}, [("a.toml", {"ring_mb": 8}), ("b.toml", {"max_series": 9, "nonsense": 1})], FACTS)

    assert (settings.ring_mb, settings.max_series) == (8, 10_000)


def test_empty_variable_is_unset() -> None:
    """An empty variable leaves the word to the file; only `watch` takes it as none."""
    env = {f"TRACE_AGENT_{row.name.upper()}": " " for row in rows_of(Settings) if row.table is None}
    settings = load(env, [("agent.toml", {"ring_mb": 8, "watch": "other"})], FACTS)

    assert settings.ring_mb == 8
    assert settings.watch == ()
    assert {"default", "file agent.toml", "env TRACE_AGENT_WATCH"} == set(settings.origins.values())


def test_variables_of_others_are_let_be() -> None:
    """Variables of the clients, the file's own, and those without the prefix are no settings."""
    names = [
        "TRACE_AGENT_HOST",
        "TRACE_AGENT_PORT",
        "TRACE_AGENT_URL",
        "TRACE_AGENT_CONFIG",
        "TRACE_AGENTS",
        "PATH",
    ]

    assert load(dict.fromkeys(names, "x"), [], FACTS) == load({}, [], FACTS)


@pytest.mark.parametrize(
    ("env", "table", "key", "value", "remedy"),
    [
        ({"TRACE_AGENT_LISEN": "x"}, {}, "TRACE_AGENT_LISEN", "x", "did you mean TRACE_AGENT_LISTEN?"),
        ({"TRACE_AGENT_WACTH": ""}, {}, "TRACE_AGENT_WACTH", "''", "did you mean TRACE_AGENT_WATCH?"),
        ({"TRACE_AGENT_TOKN": "pw"}, {}, "TRACE_AGENT_TOKN", "****", "did you mean TRACE_AGENT_TOKEN?"),
        ({"TRACE_AGENT_APIKEYVALUE": "pw"}, {}, "TRACE_AGENT_APIKEYVALUE", "****", "lists those there are"),
        (
            {"TRACE_AGENT_PUSH_URLL": "http://u:pw@h/"},
            {},
            "TRACE_AGENT_PUSH_URLL",
            "****@h/",
            "TRACE_AGENT_PUSH_URL?",
        ),
        ({"TRACE_AGENT_UPSTREAM": "pw"}, {}, "TRACE_AGENT_UPSTREAM", "****", "[[upstream]]"),
        ({}, {"rign_mb": 4}, "rign_mb", "4", "did you mean ring_mb? (file agent.toml)"),
        ({}, {"q" * 500: 4}, "q" * 120 + "…", "4", "lists those there are"),
        ({}, {"a\x1b\n": 4}, r"'a\x1b\n'", "4", "lists those there are"),
        ({}, {"push": {"token": "pw"}}, "push", "a table", "there is no such setting"),
        (
            {},
            {"upstream": [{"url": "http://h", "tokn": "pw"}]},
            "upstream[1].tokn",
            "****",
            "upstream[1].token?",
        ),
        ({}, {"upstream": [{"name": "a"}]}, "upstream[1].url", "none", "must be set"),
        ({}, {"log": [{"path": "a"}, {"pathh": "b"}]}, "log[2].pathh", "b", "log[2].path?"),
    ],
)
def test_unknown_and_missing_keys(
    env: dict[str, str], table: dict[str, object], key: str, value: str, remedy: str
) -> None:
    """An unknown key is answered with the nearest one there is; what may be a secret is not repeated."""
    with pytest.raises(SettingsError) as caught:
        load(env, [("agent.toml", table)], FACTS)

    assert (key, value) == (caught.value.key, caught.value.value)
    assert remedy in caught.value.remedy
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize(
    ("facts", "socket", "db", "openclaw_home"),
    [
        (
            attrs.evolve(FACTS, uid=0, data_writable=True, openclaw_home_exists=True),
            "/run/trace-agent/agent.sock",
            "/data/trace-agent/traces.db",
            "/home/ann/.openclaw",
        ),
        (
            attrs.evolve(FACTS, xdg_state_home="/state"),
            "/run/user/1000/trace-agent.sock",
            "/state/trace-agent/traces.db",
            None,
        ),
        (
            attrs.evolve(FACTS, xdg_runtime_dir="", xdg_state_home="relative"),
            "/tmp/trace-agent-1000/agent.sock",
            "/home/ann/.local/state/trace-agent/traces.db",
            None,
        ),
    ],
)
def test_defaults_that_follow_from_the_machine(
    facts: MachineFacts, socket: str, db: str, openclaw_home: str | None
) -> None:
    """Socket, database and OpenClaw's home are where CONTRACT section 5 says."""
    settings = load({}, [], facts)

    assert (socket, db, openclaw_home) == (settings.socket, settings.db, settings.openclaw_home)


def test_defaults() -> None:
    """The other defaults are those of CONTRACT section 5."""
    shown = {
        name: value for name, (value, origin) in shown_of(load({}, [], FACTS)).items() if origin == "default"
    }

    assert list(shown) == NAMES
    assert shown == {
        "listen": "127.0.0.1:9090",
        "otlp_listen": "none",
        "socket": "/run/user/1000/trace-agent.sock",
        "socket_mode": "0600",
        "socket_group": "none",
        "allowed_hosts": "none",
        "token": "none",
        "db": "/home/ann/.local/state/trace-agent/traces.db",
        "flush_interval_s": "1",
        "ring_mb": "16",
        "max_series": "10000",
        "prices_file": "none",
        "text": "full",
        "max_text_kb": "256",
        "redact": "true",
        "redact_patterns": "none",
        "retention_days": "7",
        "max_db_mb": "256",
        "min_free_mb": "64",
        "metrics_interval_s": "15",
        "watch": "openclaw",
        "openclaw_home": "none",
        "openclaw_logs": "auto",
        "openclaw_transcripts": "auto",
        "push_url": "none",
        "push_format": "json",
        "push_interval_s": "300",
        "push_ca_file": "none",
        "push_alarm_s": "3600",
        "push_token": "none",
        "push_headers": "none",
        "push_max_mb": "4",
        "push_text": "true",
        "upstream": "none",
        "budget_usd_day": "none",
        "error_rate_alarm": "none",
        "memory_alarm": "0.9",
        "disk_alarm": "0.9",
        "alarm_command": "none",
        "health_urls": "auto",
        "dns_probe": "none",
        "log": "none",
        "log_level": "info",
    }


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("127.0.0.1:9090", ("127.0.0.1", "::1")),
        ("localhost:9191", ("127.0.0.1", "::1")),
        ("9191", ("127.0.0.1", "::1")),
        ("127.0.0.1:9191", ("127.0.0.1",)),
        ("[::1]:9090", ("::1",)),
    ],
)
def test_localhost_works_however_it_resolves(text: str, hosts: tuple[str, ...]) -> None:
    """The default address and `localhost` are both loopback addresses, any other is itself alone."""
    address = of_env(listen=text).listen

    assert hosts == address.hosts
    assert address.is_loopback


def test_other_machines_need_a_token() -> None:
    """An address that other machines reach is accepted together with a token."""
    settings = of_env(listen="0.0.0.0:9090", otlp_listen="[::]:4318", token="t")

    assert settings.listen.hosts == ("0.0.0.0",)
    assert not settings.listen.is_loopback


def test_http_answers_to_its_own_address() -> None:
    """An address that was configured is a `Host` that is served; "every address" is not one."""
    settings = of_env(listen="10.0.0.5:9090", otlp_listen="[::]:4318", token="t", allowed_hosts="agent.lan")

    assert settings.http_hosts == {"10.0.0.5", "agent.lan"}
    assert of_env().http_hosts == {"127.0.0.1", "::1"}


def test_two_addresses_of_the_systems_choice() -> None:
    """Port 0 twice is no clash."""
    settings = of_env(listen="localhost:0", otlp_listen="localhost:0")

    assert settings.listen == settings.otlp_listen


def test_upstreams() -> None:
    """The `push_` settings and each table are an upstream; a table inherits nothing, least of all a token."""
    settings = of_file(
        push_url="https://one.example/in?team=a",
        push_token="secret-1",
        push_interval_s=60,
        upstream=[
            {"url": "http://localhost:4318", "format": "otlp", "text": False, "ca_file": "~/ca.pem"},
            {"url": "http://localhost:4318", "name": "second"},
        ],
    )
    first, second, third = settings.upstreams

    assert (first.key, first.token, first.interval_s) == ("https://one.example/in", "secret-1", 60.0)
    assert (second.key, second.token, second.interval_s) == ("http://localhost:4318", None, 300.0)
    assert (second.format, second.text, second.ca_file) == (PushFormat.OTLP, False, "/home/ann/ca.pem")
    assert third.key == "second"
    assert of_env().upstreams == ()


def test_upstreams_need_names_to_differ() -> None:
    """Two upstreams of one name would share their progress."""
    with pytest.raises(SettingsError, match="`name` of its own"):
        of_file(push_url="http://h/", upstream=[{"url": "http://h/?x=1"}])


def test_logs() -> None:
    """A log has a path, a format and rules that make events of its lines."""
    settings = of_file(
        log=[
            {
                "path": "~/agent/*.jsonl",
                "rules": [
                    {"type": "llm", "when": {"msg": "call", "level": 30}, "fields": {"model": "data.model"}},
                    {"type": "event", "fields": {"name": "msg"}},
                ],
            }
        ]
    )
    (log,) = settings.log
    first, second = log.rules

    assert (log.path, log.format) == ("/home/ann/agent/*.jsonl", LogFormat.JSON)
    assert (
        first.type,
        first.when,
        first.fields,
    ) == (EventType.LLM, (("msg", "call"), ("level", 30)), (("model", "data.model"),))
    assert (second.type, second.when) == (EventType.EVENT, ())
    assert shown_of(settings)["log[1].rules[1].when"] == ("msg: call, level: 30", "file agent.toml")


@pytest.mark.parametrize(
    "rule",
    [
        {"type": "llm"},
        {"type": "llm", "fields": {}},
        {"type": "llm", "fields": {"model": 1}},
        {"type": "span", "fields": {"model": "m"}},
        {"type": "llm", "fields": {"model": "m"}, "when": {"a": ["b"]}},
    ],
)
def test_log_rules_that_say_nothing(rule: dict[str, object]) -> None:
    """A rule needs a type, fields with paths, and conditions that are plain values."""
    with pytest.raises(SettingsError) as caught:
        of_file(log=[{"path": "a", "rules": [rule]}])

    assert caught.value.key.startswith("log[1].rules[1].")


def test_secrets_are_never_seen() -> None:
    """Neither `describe` nor `repr` holds a token, a header's value or the query of a URL."""
    settings = of_file(
        token="pw-1",
        push_url="https://h/?key=pw-2",
        push_token="pw-3",
        push_headers={"X-Key": "pw-4"},
        health_urls=["http://h/?key=pw-5"],
        upstream=[{"url": "https://g/?key=pw-6", "token": "pw-7", "headers": "X: pw-8"}],
    )
    shown = shown_of(settings)

    assert "pw-" not in repr(settings) + repr(shown)
    assert shown["push_url"] == ("https://h/?****", "file agent.toml")
    assert shown["push_headers"] == ("****", "file agent.toml")
    assert shown["upstream[1].token"] == ("****", "file agent.toml")
    assert shown["upstream[1].max_mb"] == ("4", "default")


@pytest.mark.parametrize(
    "url",
    [
        "https://ann:pw@h/",
        "https://pw@h/",
        "https://ann:1/pw@h/",
        "ann:pw//x@h",
        "ftp://h/?key=pw",
        "http://h:x?pw",
    ],
)
def test_credentials_in_urls_are_refused_unseen(url: str) -> None:
    """A URL that holds a password, or may, is refused without repeating it."""
    with pytest.raises(SettingsError) as caught:
        of_env(push_url=url)

    assert "pw" not in str(caught.value)
    assert "credentials travel in a header" in caught.value.remedy


@pytest.mark.parametrize(
    ("option", "env", "expected"),
    [
        (None, {}, [ConfigFile("./trace-agent.toml", False), ConfigFile("/etc/trace-agent.toml", False)]),
        (
            None,
            {"TRACE_AGENT_CONFIG": " "},
            [ConfigFile("./trace-agent.toml", False), ConfigFile("/etc/trace-agent.toml", False)],
        ),
        (None, {"TRACE_AGENT_CONFIG": "a.toml"}, [ConfigFile("a.toml", True)]),
        ("b.toml", {"TRACE_AGENT_CONFIG": "a.toml"}, [ConfigFile("b.toml", True)]),
        ("", {}, [ConfigFile("", True)]),
    ],
)
def test_config_files(option: str | None, env: dict[str, str], expected: list[ConfigFile]) -> None:
    """A file that was named is the only one, and must be there; else the usual places are tried."""
    assert expected == list(config_files(option, env))


def judged(env: Mapping[str, str], table: Mapping[str, object]) -> str:
    """Load and describe: nothing but `SettingsError` escapes, and all that is shown can be printed."""
    try:
        settings = load(env, [("agent.toml", table)], FACTS)
    except SettingsError as exc:
        return str(exc)
    return "".join(f"{line.name}{line.value}{line.origin}" for line in describe(settings))


_texts = st.text() | st.sampled_from([text for _, text, _ in GOOD + BAD])


@given(st.dictionaries(st.sampled_from(NAMES) | st.text(), _texts, max_size=3))
def test_any_environment(variables: dict[str, str]) -> None:
    """Whatever the variables hold, it is settings or a settings error."""
    shown = judged({f"TRACE_AGENT_{name.upper()}": text for name, text in variables.items()}, {})

    assert shown.isprintable()


_toml = st.recursive(
    _texts | st.integers() | st.floats() | st.booleans() | st.datetimes(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["url", "path", "rules", "type", "fields", "token"]) | st.text(),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(NAMES) | st.text(), _toml, max_size=3))
def test_any_file(table: dict[str, object]) -> None:
    """Whatever TOML can hold, it is settings or a settings error."""
    shown = judged({}, table)

    assert shown.isprintable()


@given(st.sampled_from(["token", "push_token", "push_headers", "push_url"]), st.text(min_size=1))
def test_no_secret_in_an_error(name: str, text: str) -> None:
    """A secret that is refused is not repeated."""
    secret = f"Sec\nret{text}Ret"
    with pytest.raises(SettingsError) as caught:
        of_env(**{name: f"https://ann:{secret}@h/" if name == "push_url" else secret})

    assert "Ret" not in str(caught.value)


def test_masked_values_still_differ_from_none() -> None:
    """A masked secret tells that it is set, which is what one looks for."""
    assert shown_of(of_env(token="pw"))["token"] == ("****", "env TRACE_AGENT_TOKEN")
    assert shown_of(of_env())["token"] == ("none", "default")


def test_rows_document_themselves() -> None:
    """Each setting has a line of help and a default to be shown, for documents and `trace-agent config`."""
    tables = [Settings, *(row.table for row in rows_of(Settings) if row.table is not None)]

    for table in tables:
        for row in rows_of(table):
            assert row.help
            assert "\n" not in row.help + row.default_shown
            assert row.default_shown
