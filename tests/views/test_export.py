"""Everything as JSON lines."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from tests.views.building import NOW_MS, StoreBuilder
from tests.views.commanding import command
from trace_agent.core.settings import Settings
from trace_agent.views import export
from trace_agent.views.export import TYPES, export_lines


def fill(store: StoreBuilder) -> None:
    """Add two of everything, long ago and now."""
    for ts_ms in (NOW_MS - 10 * 86_400_000, NOW_MS):
        store.call(ts_ms=ts_ms, input="what was said", output=[{"role": "assistant", "content": "ä"}])
        store.event(ts_ms=ts_ms)
        store.error(ts_ms=ts_ms)
        store.metric(ts_ms=ts_ms)


def exported(store: StoreBuilder, *types: str, text: bool = True, **params: str) -> list[dict[str, Any]]:
    """Return the lines decoded."""
    lines = export_lines(store.path, types or TYPES, params, NOW_MS, text=text)
    return [json.loads(line) for line in lines]


def test_all_types_come_oldest_first_with_their_words(store: StoreBuilder) -> None:
    """Each line says its type; calls carry their words."""
    fill(store)
    items = exported(store)

    assert [item["type"] for item in items] == [kind for kind in TYPES for _ in range(2)]
    assert [item["ts"] for item in items[:2]] == [NOW_MS - 10 * 86_400_000, NOW_MS]
    assert (items[0]["input"], items[0]["output"][0]["content"]) == ("what was said", "ä")


def test_types_times_and_words_can_be_chosen(store: StoreBuilder) -> None:
    """Only what was asked for is there."""
    fill(store)

    assert [item["type"] for item in exported(store, "error", "event")] == ["event"] * 2 + ["error"] * 2
    assert [item["ts"] for item in exported(store, "llm", since="1d")] == [NOW_MS]
    assert [item["ts"] for item in exported(store, "llm", until="1d")] == [NOW_MS - 10 * 86_400_000]
    assert "input" not in exported(store, "llm", text=False)[0]


def test_pages_follow_each_other_and_the_end_stands_still(
    store: StoreBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that arrive during an export are left for the next one, so that it ends."""
    monkeypatch.setattr(export, "_PAGE_ROWS", 3)
    for number in range(10):
        store.event(id=str(number))
    seen = []
    for line in export_lines(store.path, ("event",), {}, NOW_MS, text=True):
        seen.append(json.loads(line)["id"])
        store.event()

    assert seen == [str(number) for number in range(10)]


def test_to_a_file_of_ones_own(
    capsys: pytest.CaptureFixture[str], store: StoreBuilder, own_settings: Settings, tmp_path: Path
) -> None:
    """A file that holds conversations can be read by nobody else, also when it was there before."""
    fill(store)
    target = tmp_path / "out.jsonl"
    target.write_text("old" * 100_000)
    target.chmod(0o644)
    done = command(capsys, own_settings, "export", "-o", str(target), "--type", "llm", "--no-text")
    lines = target.read_text().splitlines()

    assert (done.code, done.out, done.err) == (0, "", "2 lines\n")
    assert [json.loads(line)["type"] for line in lines] == ["llm", "llm"]
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


def test_to_stdout(capsys: pytest.CaptureFixture[str], store: StoreBuilder, own_settings: Settings) -> None:
    """Lines go to stdout and nothing else does."""
    fill(store)
    done = command(capsys, own_settings, "export", "--type", "event", "--type", "metric")

    assert [json.loads(line)["type"] for line in done.out.splitlines()] == ["event"] * 2 + ["metric"] * 2
    assert done.err == "4 lines\n"


def test_an_empty_store_exports_nothing(capsys: pytest.CaptureFixture[str], own_settings: Settings) -> None:
    """No rows are no lines, and no error."""
    done = command(capsys, own_settings, "export")

    assert (done.code, done.out, done.err) == (0, "", "0 lines\n")


def test_an_old_export_outlives_a_failure(
    capsys: pytest.CaptureFixture[str], own_settings: Settings, tmp_path: Path
) -> None:
    """A database or option that cannot be read is found before the file is emptied."""
    target = tmp_path / "out.jsonl"
    target.write_text("precious")
    missing = command(capsys, evolve(own_settings, db="/nowhere.db"), "export", "-o", str(target))
    wrong = command(capsys, own_settings, "export", "-o", str(target), "--since", "soon")

    assert (missing.code, wrong.code, target.read_text()) == (3, 2, "precious")


def test_a_file_that_cannot_be_made_is_named(
    capsys: pytest.CaptureFixture[str], own_settings: Settings, tmp_path: Path
) -> None:
    """Exit code 1 and the path."""
    done = command(capsys, own_settings, "export", "-o", str(tmp_path / "no" / "such" / "file"))

    assert done.code == 1
    assert "file: No such file or directory" in done.err


@pytest.mark.parametrize("words", [("export",), ("events", "--json"), ("events",)])
def test_a_closed_pipe_is_no_error(store: StoreBuilder, tmp_path: Path, words: tuple[str, ...]) -> None:
    """`trace-agent export | head -1` ends quietly."""
    for _ in range(1000):
        store.event(name="n" * 200)
    env = {name: value for name, value in os.environ.items() if not name.startswith("TRACE_AGENT_")}
    env |= {"TRACE_AGENT_DB": str(store.path), "HOME": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-m", "trace_agent", *words, *(() if words == ("export",) else ("--limit", "1000"))],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=env,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(1)
        process.stdout.close()
        said = process.stderr.read()

    assert (process.returncode, said) == (0, b"")
