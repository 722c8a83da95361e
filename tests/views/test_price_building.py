"""`prices build` and `prices refresh` put a table where it is used."""

import json
from pathlib import Path

import pytest
from attrs import evolve

from tests.views.commanding import command
from trace_agent.core.settings import Settings
from trace_agent.store.price_list import SHIPPED
from trace_agent.store.price_table import installed_source
from trace_agent.store.prices import Prices
from trace_agent.store.prices_in_use import open_prices, own_table

ACME = {
    "id": "acme",
    "name": "Acme",
    "api_pattern": "https://acme",
    "models": [{"id": "m", "match": {"equals": "m"}, "prices": {"input_mtok": 1.25, "output_mtok": 2}}],
}


def test_refresh(capsys: pytest.CaptureFixture[str], settings: Settings, tmp_path: Path) -> None:
    """Prices of a newer data.json are used from then on; without the table the shipped ones are again."""
    file = tmp_path / "data.json"
    file.write_text(json.dumps([ACME]))
    done = command(capsys, settings, "prices", "refresh", "--from", str(file))
    own = own_table(settings)
    shown = command(capsys, settings, "prices", "show", "m", "--provider", "acme")

    assert (done.code, done.err) == (0, "")
    with open_prices(settings) as prices:
        assert done.out == f"{own}: 1 model, {prices.version}\n"
        assert prices.version.startswith("genai-prices-file-")
    assert own.parent.stat().st_mode & 0o777 == 0o700
    assert "1.25" in shown.out
    own.unlink()
    with open_prices(settings) as prices, Prices(SHIPPED) as shipped:
        assert prices.version == shipped.version


def test_refresh_again_replaces(
    capsys: pytest.CaptureFixture[str], settings: Settings, tmp_path: Path
) -> None:
    """A second refresh leaves only its own prices, and nothing beside them."""
    for name in ("first", "second"):
        file = tmp_path / f"{name}.json"
        file.write_text(json.dumps([ACME | {"id": name}]))
        assert command(capsys, settings, "prices", "refresh", "--from", str(file)).code == 0

    assert command(capsys, settings, "prices", "show", "m", "--provider", "second").code == 0
    assert command(capsys, settings, "prices", "show", "m", "--provider", "first").code == 1
    assert [path.name for path in own_table(settings).parent.iterdir()] == ["prices.sqlite"]


@pytest.mark.parametrize("content", [None, "no JSON", "[]", "{}", '[{"id": "x"}]'])
def test_what_is_no_price_list_changes_nothing(
    capsys: pytest.CaptureFixture[str], settings: Settings, tmp_path: Path, content: str | None
) -> None:
    """A file that cannot be used is exit code 3, named, and the prices stay as they were."""
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_text(json.dumps([ACME]))
    if content is not None:
        bad.write_text(content)
    command(capsys, settings, "prices", "refresh", "--from", str(good))
    before = own_table(settings).read_bytes()
    done = command(capsys, settings, "prices", "refresh", "--from", str(bad))

    assert (done.code, done.out) == (3, "")
    assert done.err.startswith("trace-agent: ")
    assert own_table(settings).read_bytes() == before


def test_build(capsys: pytest.CaptureFixture[str], settings: Settings) -> None:
    """The installed package's prices are used from then on."""
    done = command(capsys, settings, "prices", "build")

    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"{own_table(settings)}: ")
    assert done.out.endswith(f" models, {installed_source().version}\n")
    with open_prices(settings) as prices:
        assert prices.version == installed_source().version


def test_build_elsewhere(capsys: pytest.CaptureFixture[str], settings: Settings, tmp_path: Path) -> None:
    """With a file named, the table is there and the prices in use are the same as before."""
    output = tmp_path / "deep" / "table.sqlite"
    done = command(capsys, settings, "prices", "build", "--output", str(output))

    assert done.code == 0
    assert not own_table(settings).exists()
    with Prices(output) as prices:
        assert prices.version == installed_source().version


def test_where_nothing_can_be_written(
    capsys: pytest.CaptureFixture[str], settings: Settings, tmp_path: Path
) -> None:
    """A directory that cannot be made is exit code 3, with the file's name."""
    (tmp_path / "file").write_text("")
    closed = evolve(settings, db=str(tmp_path / "file" / "traces.db"))
    done = command(capsys, closed, "prices", "build")

    assert (done.code, done.out) == (3, "")
    assert str(own_table(closed)) in done.err
