"""Which prices are used: the user's file, a table beside the database, the shipped one."""

from pathlib import Path

import pytest
from attrs import evolve

from trace_agent.core.errors import SettingsError, StoreError
from trace_agent.core.price_overrides import read_overrides
from trace_agent.core.settings import Settings
from trace_agent.store.price_list import SHIPPED
from trace_agent.store.price_table import Source, build
from trace_agent.store.prices import Call, Prices
from trace_agent.store.prices_in_use import open_prices, own_table

NOW_MS = 1_795_348_800_000  # 2026-11-22T12:00:00Z


def shipped_version() -> str:
    """Return the version of the shipped prices."""
    with Prices(SHIPPED) as prices:
        return prices.version


def test_prices_in_use(settings: Settings, tmp_path: Path) -> None:
    """The user's file goes before a table beside the database, and that before the shipped one."""
    call = Call("acme", "m", None, NOW_MS)
    with open_prices(settings) as shipped:
        assert (shipped.version, shipped.find(call)) == (shipped_version(), None)
    model = {"id": "m", "match": {"equals": "m"}, "prices": {"input_mtok": 1}}
    provider: dict[str, object] = {"id": "acme", "name": "Acme", "api_pattern": "x", "models": [model]}
    build(Source([provider], "mine-1"), own_table(settings))
    with open_prices(settings) as own:
        found = own.find(call)
        assert found is not None
        assert (own.version, found.basis) == ("mine-1", "list")
    file = tmp_path / "prices.toml"
    file.write_text('[[price]]\nmodel = "m"\ninput = 2.5\n')
    with open_prices(evolve(settings, prices_file=str(file))) as overridden:
        found = overridden.find(call)
        assert found is not None
        assert found.basis == "override"
        assert found.version == read_overrides({"price": [{"model": "m", "input": "2.5"}]}).version

    assert own_table(settings) == Path(settings.db).parent / "prices.sqlite"


def test_prices_that_cannot_be_read(settings: Settings, tmp_path: Path) -> None:
    """A table or a file that cannot be used is told, never passed over."""
    with pytest.raises(SettingsError, match="prices_file"):
        open_prices(evolve(settings, prices_file=str(tmp_path / "none.toml")))
    own_table(settings).parent.mkdir()
    own_table(settings).write_bytes(b"no table")
    with pytest.raises(StoreError, match=r"prices\.sqlite"):
        open_prices(settings)
    with pytest.raises(StoreError, match="cannot be looked for"):
        open_prices(evolve(settings, db=f"/{'x' * 300}/traces.db"))
