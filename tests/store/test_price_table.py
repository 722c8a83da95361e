"""The price table is built from genai-prices' data, the same from the same, or refused by name."""

import json
import re
import sqlite3
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from trace_agent.core.errors import StoreError
from trace_agent.core.events import Tokens
from trace_agent.store.price_list import SHIPPED
from trace_agent.store.price_table import NOTICE, Source, build, file_source, installed_source
from trace_agent.store.prices import Call, Prices

DAY_MS: Final = 24 * 60 * 60 * 1000


def provider(*models: dict[str, Any], **more: object) -> dict[str, object]:
    """Return a provider `acme` as data.json has it."""
    return {"id": "acme", "name": "Acme", "api_pattern": "https://acme", "models": list(models)} | more


def model(name: str = "m", **more: object) -> dict[str, object]:
    """Return a model of 1 and 2 USD per million as data.json has it."""
    return {"id": name, "match": {"equals": name}, "prices": {"input_mtok": 1, "output_mtok": 2}} | more


def costs(path: Path, name: str = "m", at_ms: float = 0, sender: str = "acme") -> list[int | None]:
    """Return the cost of 1, 1,001 and 2,001 tokens in, and of one out."""
    with Prices(path) as prices:
        call = Call(sender, name, None, at_ms)
        return [
            prices.cost(call, tokens).nusd
            for tokens in (
                Tokens(1, output=0),
                Tokens(1001, output=0),
                Tokens(2001, output=0),
                Tokens(0, output=1),
            )
        ]


def dump(path: Path) -> list[str]:
    """Return everything in a table."""
    connection = sqlite3.connect(path)
    try:
        return list(connection.iterdump())
    finally:
        connection.close()


def test_shipped_table_is_up_to_date(tmp_path: Path) -> None:
    """The table in the package is what the installed genai-prices builds."""
    build(installed_source(), tmp_path / "prices.sqlite")

    assert dump(tmp_path / "prices.sqlite") == dump(SHIPPED)


def test_shipped_table_is_small() -> None:
    """The table costs the package little."""
    assert SHIPPED.stat().st_size < 600_000


def test_same_input_same_bytes(tmp_path: Path) -> None:
    """Building twice gives the same file, byte for byte."""
    source = installed_source()
    for name in ("one", "two"):
        build(source, tmp_path / name)

    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_attribution() -> None:
    """The licence of the data stands beside the table and in it."""
    connection = sqlite3.connect(f"{SHIPPED.as_uri()}?mode=ro", uri=True)
    about = dict(connection.execute("SELECT key, value FROM about"))
    connection.close()

    assert SHIPPED.with_name("NOTICE").read_text() == about["notice"] == NOTICE
    assert "Copyright (c) Pydantic Services Inc." in NOTICE
    assert re.fullmatch(r"genai-prices-\d+\.\d+\.\d+", about["version"])


def test_replaces_a_table_in_one_step(tmp_path: Path) -> None:
    """A new table takes the place of the old one, which goes on serving those who have it open."""
    path = tmp_path / "sub" / "prices.sqlite"
    call = Call("acme", "m", None, 0)
    assert build(Source([provider(model())], "v1"), path) == 1

    with Prices(path) as old:
        dearer = model(prices={"input_mtok": 5, "output_mtok": 5})
        build(Source([provider(dearer)], "v2"), path)

        assert old.cost(call, Tokens(1, output=0)).nusd == 1000
    with Prices(path) as new:
        cost = new.cost(call, Tokens(1, output=0))
    assert (cost.nusd, cost.version) == (5000, "v2")
    assert [file.name for file in path.parent.iterdir()] == ["prices.sqlite"]


def test_larger_requests(tmp_path: Path) -> None:
    """Steps of several buckets at several sizes come out as each bucket's own."""
    prices = {
        "input_mtok": {"base": 1, "tiers": [{"start": 1000, "price": 2}, {"start": 2000, "price": 3}]},
        "output_mtok": 7,
        "requests_kcount": 0.001,
        "web_searches_kcount": 10,
    }
    build(Source([provider(model(prices=prices))], "v"), tmp_path / "p")

    # Each call costs 0.000001 USD more, that is 1,000 nano-dollars.
    assert costs(tmp_path / "p") == [2_000, 2_003_000, 6_004_000, 8_000]


def test_times(tmp_path: Path) -> None:
    """Start dates and hours of the day are kept, hours of other zones as UTC."""
    entries = [
        {"prices": {"input_mtok": 1, "output_mtok": 0}},
        {
            "constraint": {"start_date": "1970-01-03"},
            "prices": {"input_mtok": 2, "output_mtok": 0},
        },
        {
            "constraint": {"start_time": "02:00:00+02:00", "end_time": "04:00:00Z"},
            "prices": {"input_mtok": 3, "output_mtok": 0},
        },
        {"constraint": {"start_date": "1970-01-11"}, "prices": {"web_searches_kcount": 1}},
    ]
    build(Source([provider(model(prices=entries))], "v"), tmp_path / "p")

    noon = DAY_MS // 2
    at = [costs(tmp_path / "p", at_ms=ms)[0] for ms in (noon, 2 * DAY_MS + noon, 2 * DAY_MS, 10 * DAY_MS)]
    assert at == [1000, 2000, 3000, None]


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"id": "m:free"}, 0),
        ({"price_comments": "Free of charge on its own API."}, 0),
        ({"price_comments": "Included in the subscription: no rate is listed."}, 0),
        ({"price_comments": "No longer listed."}, None),
        ({}, None),
        ({"id": "m:free", "prices": {"audio_hours": 1}}, None),
        ({"prices": {"input_mtok": None, "audio_hours": 1}}, None),
    ],
)
def test_without_prices(tmp_path: Path, entry: dict[str, object], expected: int | None) -> None:
    """An entry without prices is free if it says so, and otherwise has no price."""
    build(Source([provider(model(prices={}) | entry)], "v"), tmp_path / "p")

    assert costs(tmp_path / "p") == [expected] * 4


def test_first_model_wins(tmp_path: Path) -> None:
    """Where several clauses match a name, the model that stands first has it, however it matches."""
    one = model("one", match={"starts_with": "a-"}, prices={"input_mtok": 1, "output_mtok": 1})
    two = model("two", match={"or": [{"equals": "A-b"}, {"contains": "-c"}]})
    three = model("three", match={"regex": "^x-\\d$"}, prices={"input_mtok": 3, "output_mtok": 3})
    build(Source([provider(one, two, three)], "v"), tmp_path / "p")

    names = ("a-b", "a-c", "b-c", "x-1", "x-y")
    assert [costs(tmp_path / "p", name)[3] for name in names] == [1000, 1000, 2000, 3000, None]


def test_providers(tmp_path: Path) -> None:
    """A provider is known by its rules, and serves the models of those it falls back to."""
    maker = provider(model(), provider_match={"contains": "acm"}, model_match={"equals": "m"})
    seller = provider(model("own")) | {"id": "seller", "fallback_model_providers": ["acme", "nobody"]}
    build(Source([maker, seller], "v"), tmp_path / "p")

    assert costs(tmp_path / "p", sender="the-acme-company")[0] == 1000
    assert costs(tmp_path / "p", sender="seller")[0] == 1000
    assert costs(tmp_path / "p", "own", sender="seller")[0] == 1000
    assert costs(tmp_path / "p", "own", sender="acme")[0] is None


@pytest.mark.parametrize(
    "broken",
    [
        {"id": "acme"},
        provider({"id": "m"}),
        provider(model(match={"sounds_like": "m"})),
        provider(model(match={"regex": "("})),
        provider(model(prices={"input_mtok": "cheap"})),
        provider(model(prices={"input_mtok": -1})),
        provider(model(prices=[{"constraint": {"moon": "full"}, "prices": {"input_mtok": 1}}])),
        provider(model(prices={"input_mtok": {"base": 1}})),
        provider("m"),  # type: ignore[arg-type]  # broken on purpose
    ],
)
def test_broken_source(tmp_path: Path, broken: dict[str, object]) -> None:
    """A source of another shape is refused by name, and leaves the old table and no litter."""
    path = tmp_path / "prices.sqlite"
    build(Source([provider(model())], "v1"), path)

    with pytest.raises(StoreError, match="v2 is not shaped like"):
        build(Source([broken], "v2"), path)
    assert costs(path)[0] == 1000
    assert [file.name for file in tmp_path.iterdir()] == ["prices.sqlite"]


def test_cannot_write(tmp_path: Path) -> None:
    """A target that cannot be written is told."""
    (tmp_path / "file").touch()

    with pytest.raises(StoreError, match="cannot be written"):
        build(Source([provider(model())], "v"), tmp_path / "file" / "prices.sqlite")


def test_file_source(tmp_path: Path) -> None:
    """A downloaded data.json builds the table that the package builds, under a version of its own."""
    exact = model("x", prices={"input_mtok": 0.1, "output_mtok": 18446744073709.5516})
    (tmp_path / "data.json").write_text(json.dumps([provider(model(), exact)]))
    source = file_source(tmp_path / "data.json")
    build(source, tmp_path / "p")

    assert re.fullmatch("genai-prices-file-[0-9a-f]{12}", source.version)
    assert costs(tmp_path / "p")[0] == 1000
    assert costs(tmp_path / "p", "x")[0] == 100


def test_package_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package that has the prices, it says how to get it."""
    monkeypatch.setitem(sys.modules, "genai_prices.data", None)

    with pytest.raises(StoreError, match=r"pip install 'trace-agent\[prices\]'"):
        installed_source()


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"[1]", b'[{"name": "x"}]', b"7", b"\xff", b"[{}]"])
def test_broken_file(tmp_path: Path, content: bytes) -> None:
    """A file of another kind is refused by name."""
    path = tmp_path / "data.json"
    path.write_bytes(content)

    with pytest.raises(StoreError, match=re.escape(str(path))):
        file_source(path)


def test_no_file(tmp_path: Path) -> None:
    """A file that is not there is told."""
    with pytest.raises(StoreError, match="cannot be read"):
        file_source(tmp_path / "nothing.json")
