"""The README names every setting with its default, every command and every path; it cannot fall behind."""

import json
from pathlib import Path

import pytest

from trace_agent import __main__
from trace_agent.core.settings import Row, Settings, rows_of

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("row", rows_of(Settings), ids=lambda row: str(row.name))
def test_settings(row: Row) -> None:
    """Each setting is in a table of the README, with its default."""
    default = row.default_shown
    shown = (f"| `{row.name}` | {default} |", f"| `{row.name}` | `{default}` |")

    assert any(line in README for line in shown)


def test_commands(capsys: pytest.CaptureFixture[str]) -> None:
    """Each command that `--help` lists is in the README."""
    with pytest.raises(SystemExit):
        __main__.main(["--help"])
    listed = [
        line.split()[0]
        for line in capsys.readouterr().out.splitlines()
        if line.startswith("    ") and line[4] != " "
    ]

    assert "traces" in listed
    assert [name for name in listed if name not in README] == []


def test_paths() -> None:
    """Each path of the OpenAPI document is in the README."""
    document = json.loads((ROOT / "trace_agent/views/openapi.json").read_text())

    assert [path for path in document["paths"] if path not in README] == []


def test_no_placeholders() -> None:
    """Nothing in the README waits to be filled in."""
    assert [word for word in ("FIGURES", "SETTINGS_LATER", "TODO") if word in README] == []
