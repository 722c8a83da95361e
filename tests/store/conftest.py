"""Fixtures of the store: a place for a database, the database opened, and disks that are full."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.store.building import NOW_MS
from trace_agent.store.database import Database, open_database

# Enough for a database and its log without a word in them.
_SMALL_DISK_KB = 1024


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a database may be made, in a directory that is not there yet."""
    return tmp_path / "store" / "traces.db"


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    """A new database of ours, open."""
    opened = open_database(path, NOW_MS)
    yield opened
    opened.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A volume of one megabyte; the test is skipped where none can be mounted."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    if mount is None:
        pytest.skip("there is no mount command")
    options = f"size={_SMALL_DISK_KB}k"
    done = subprocess.run(
        [mount, "-t", "tmpfs", "-o", options, "tmpfs", place], check=False, capture_output=True
    )
    if done.returncode:
        pytest.skip("mounting a small disk takes root on Linux; the same is tested with max_page_count")
    yield place
    subprocess.run(["umount", place], check=True)
