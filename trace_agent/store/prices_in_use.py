"""Open the prices that the settings ask for: settings in, `Prices` out.

The agent prices new calls by them, and the commands tell of them, so both open them here.
"""

from pathlib import Path

from trace_agent.core.errors import StoreError
from trace_agent.core.price_overrides import NO_OVERRIDES
from trace_agent.core.settings import Settings
from trace_agent.store.price_list import SHIPPED
from trace_agent.store.prices import Prices, load_overrides

__all__ = ["open_prices", "own_table"]


def own_table(settings: Settings) -> Path:
    """Return where a price table goes that is to be used instead of the shipped one: beside the database."""
    return Path(settings.db).with_name("prices.sqlite")


def open_prices(settings: Settings) -> Prices:
    """Open the prices in use; the caller closes them.

    The user's own prices go before a table beside the database, which goes before the shipped one.

    Raises:
        SettingsError: `prices_file` cannot be read.
        StoreError: the table beside the database is none, of another format, or in a closed directory.
    """
    file = settings.prices_file
    overrides = NO_OVERRIDES if file is None else load_overrides(Path(file))
    own = own_table(settings)
    try:
        there = own.exists()
    except OSError as exc:
        raise StoreError(f"{own} cannot be looked for: {exc.strerror}") from exc
    return Prices(own if there else SHIPPED, overrides)
