"""Make price tables: `prices build` and `prices refresh`, options in, a file and an exit code out.

A table beside the database is used instead of the shipped one; without it, the shipped one is again.
"""

import sys
from argparse import Namespace
from contextlib import suppress
from pathlib import Path
from typing import Final

from trace_agent.core.settings import Settings
from trace_agent.store.price_table import Source, build, file_source, installed_source
from trace_agent.store.prices_in_use import own_table
from trace_agent.views.terminal import safe, things, tolerate

__all__ = ["run_build", "run_refresh"]

_OK: Final = 0


def run_build(args: Namespace, settings: Settings) -> int:
    """Make a price table of the installed genai-prices.

    Raises:
        StoreError: the package is not there, or the table cannot be written.
    """
    return _build(installed_source(), own_table(settings) if args.output is None else Path(args.output))


def run_refresh(args: Namespace, settings: Settings) -> int:
    """Make a price table of a `data.json` of genai-prices, beside the database.

    Raises:
        StoreError: the file cannot be used, or the table cannot be written.
    """
    return _build(file_source(Path(args.source)), own_table(settings))


def _build(source: Source, path: Path) -> int:
    tolerate(sys.stdout)
    # As the store makes it; what goes wrong here goes wrong in `build` too, which says so.
    with suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    models = build(source, path)
    sys.stdout.write(safe(f"{path}: {things(models, 'model')}, {source.version}") + "\n")
    return _OK
