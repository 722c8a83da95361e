"""Find out whether everything works: one marked event through every input, followed into the store.

Each finding is a line for a person, with the remedy where something is wrong. The marked events are
real ones and stay in the store: type `event`, name `doctor.probe`.
"""

import json
import os
import shutil
import stat
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Final, cast

from attrs import frozen

from trace_agent.core.errors import StoreError
from trace_agent.core.settings import Settings
from trace_agent.views.client import UnreachableError
from trace_agent.views.params import EVENTS
from trace_agent.views.probe import CARRIERS, send
from trace_agent.views.queries import ids_present
from trace_agent.views.readonly import snapshot
from trace_agent.views.rows import JsonMap
from trace_agent.views.status import Figures, look
from trace_agent.views.terminal import Clock, ago, bytes_text, console_for, safe, tolerate, write_json

__all__ = ["PROBE_NAME", "Finding", "Verdict", "run_doctor"]

PROBE_NAME: Final = "doctor.probe"

_OK: Final = 0
_PROBLEM: Final = 1
_UNUSABLE: Final = 3

_POLL_S: Final = 0.1
# Beside the flush interval: the commit, and a machine that is busy.
_PATIENCE_S: Final = 4.0
_MB: Final = 1_000_000
# Twelve full datagrams; below it, a short burst is lost while a batch is being committed.
_GOOD_BUFFER_BYTES: Final = 1024 * 1024
# 2025-01-01: a machine whose clock says less has not been told the time.
_EARLIEST_MS: Final = 1_735_689_600_000
_CLOCK_SLACK_MS: Final = 60_000
_OTHERS: Final = 0o077
_OTHERS_WRITE: Final = 0o022


class Verdict(StrEnum):
    """How a finding counts."""

    GOOD = "good"
    WARNING = "warning"  # worth knowing, no failure
    BAD = "bad"


@frozen
class Finding:
    """One line.

    Attributes:
        remedy: what to do about it; empty for what is good.
    """

    check: str
    verdict: Verdict
    message: str
    remedy: str = ""


_MARKS: Final = {Verdict.GOOD: ("✓", "green"), Verdict.WARNING: ("!", "yellow"), Verdict.BAD: ("✗", "red")}


def run_doctor(args: Namespace, settings: Settings, now_ms: Clock, sleep: Callable[[float], None]) -> int:
    """Check everything and print what was found.

    Returns:
        0 when all is well, 1 when something is not, 3 when the agent cannot be reached or the database
        cannot be opened.
    """
    tolerate(sys.stdout)
    figures = look(settings)
    findings = [
        *_agent(figures, settings),
        *_files(settings),
        *_socket(settings),
        *_clock(figures, now_ms()),
        *_sockets_of_kernel(figures),
    ]
    if figures.health is not None:
        findings += _probes(figures, settings, now_ms, sleep)
    if args.json:
        write_json({"findings": [_json(finding) for finding in findings]}, sys.stdout)
    else:
        _print(findings)
    if figures.health is None or figures.store is None:
        return _UNUSABLE
    return _PROBLEM if any(finding.verdict is Verdict.BAD for finding in findings) else _OK


def _agent(figures: Figures, settings: Settings) -> Iterator[Finding]:
    if figures.health is None:
        remedy = f"start `trace-agent run`; its address is the setting `listen`, now {settings.listen}"
        for problem in figures.problems:
            yield Finding("agent", Verdict.BAD, problem, remedy)
        return
    yield Finding(
        "agent", Verdict.GOOD, f"trace-agent {figures.health['version']} answers on {settings.listen}"
    )
    for problem in figures.problems:
        yield Finding("agent", Verdict.BAD, problem, _remedy_of(problem))


def _remedy_of(problem: str) -> str:
    if "Bearer" in problem:
        return "set TRACE_AGENT_TOKEN to the token that the agent was started with"
    if "these settings name" in problem:
        return "run this command with the settings of the agent (same user, environment and --config)"
    if "full" in problem:
        return "make room on the volume, or choose another one (setting `db`)"
    return "the log of the agent (stderr) says more"


def _files(settings: Settings) -> Iterator[Finding]:
    db = Path(settings.db)
    for path in (db, db.with_name(f"{db.name}-wal"), db.with_name(f"{db.name}-shm")):
        mode = _mode(path)
        if mode is not None and mode & _OTHERS:
            yield Finding("files", Verdict.BAD, f"{path} has mode {mode:04o}", f"chmod 600 {path}")
    folder_mode = _mode(db.parent)
    if folder_mode is None:
        return
    if folder_mode & _OTHERS_WRITE:
        yield Finding("files", Verdict.BAD, f"others may write in {db.parent}", f"chmod 700 {db.parent}")
    free_bytes = shutil.disk_usage(db.parent).free
    least_bytes = settings.min_free_mb * _MB
    if free_bytes < least_bytes:
        yield Finding(
            "disk",
            Verdict.BAD,
            f"{bytes_text(free_bytes)} free at {db.parent}, less than min_free_mb = {settings.min_free_mb}",
            "make room, or choose another volume (setting `db`)",
        )
    else:
        yield Finding("disk", Verdict.GOOD, f"{bytes_text(free_bytes)} free at {db.parent}")


def _socket(settings: Settings) -> Iterator[Finding]:
    path = Path(settings.socket)
    try:
        status = path.stat()
    except OSError as error:
        yield Finding(
            "socket",
            Verdict.BAD,
            f"{path}: {error.strerror}",
            "run this command as the user of the agent, or with the same setting `socket`",
        )
        return
    mode = stat.S_IMODE(status.st_mode)
    if not stat.S_ISSOCK(status.st_mode):
        yield Finding("socket", Verdict.BAD, f"{path} is no socket", "choose another path (setting `socket`)")
    elif mode != settings.socket_mode:
        yield Finding(
            "socket",
            Verdict.BAD,
            f"{path} has mode {mode:04o}, the setting socket_mode says {settings.socket_mode}",
            "restart the agent with these settings",
        )
    else:
        yield Finding("socket", Verdict.GOOD, f"{path}, mode {mode:04o}")


def _clock(figures: Figures, now_ms: int) -> Iterator[Finding]:
    newest_ms = max(figures.store.newest_ms.values(), default=0) if figures.store is not None else 0
    if now_ms < _EARLIEST_MS or newest_ms > now_ms + _CLOCK_SLACK_MS:
        yield Finding(
            "clock", Verdict.BAD, "the clock is behind what was stored before", "set the clock (chrony, ntpd)"
        )
    else:
        yield Finding("clock", Verdict.GOOD, "the clock agrees with what is stored")


def _sockets_of_kernel(figures: Figures) -> Iterator[Finding]:
    if figures.stats is None:
        return
    own = cast("JsonMap", figures.stats["self"])
    for listener in cast("list[JsonMap]", own["listeners"]):
        drops, buffer_bytes = listener["kernel_drops"], listener["receive_buffer_bytes"]
        name = f"{listener['carrier']} {listener['address']}"
        small = isinstance(buffer_bytes, int) and buffer_bytes < _GOOD_BUFFER_BYTES
        shown = "" if buffer_bytes is None else f", {bytes_text(cast('float', buffer_bytes))} receive buffer"
        if drops or small:
            yield Finding(
                "kernel",
                Verdict.WARNING,
                f"{name}: {drops or 0:,} datagrams dropped by the kernel since the start{shown}",
                ("sysctl -w net.core.rmem_max=8388608 and restart the agent; or " if small else "")
                + "send over the Unix socket, with flow control",
            )
        elif drops is not None:
            yield Finding("kernel", Verdict.GOOD, f"{name}: no datagram dropped by the kernel{shown}")


def _probes(
    figures: Figures, settings: Settings, now_ms: Clock, sleep: Callable[[float], None]
) -> Iterator[Finding]:
    """Send a marked event over each carrier and wait until the store has it."""
    sent: dict[str, str] = {}
    for carrier in CARRIERS:
        event_id = f"doctor-{carrier}-{os.getpid()}-{now_ms()}"
        event = {"type": "event", "id": event_id, "name": PROBE_NAME, "attributes": {"carrier": carrier}}
        try:
            trouble = send(carrier, json.dumps(event).encode(), settings)
        except UnreachableError as error:
            trouble = str(error)
        if trouble is None:
            sent[carrier] = event_id
        else:
            yield Finding(carrier, Verdict.BAD, trouble, f"see the agent's log for its {carrier} listener")
    waited_s = 0.0
    missing = dict(sent)
    while True:
        try:
            with snapshot(Path(settings.db)) as connection:
                present = ids_present(connection, EVENTS, missing.values())
        except StoreError as error:
            yield Finding("store", Verdict.BAD, str(error), "run this command as the user of the agent")
            return
        for carrier in [carrier for carrier, event_id in missing.items() if event_id in present]:
            del missing[carrier]
            took = f"a marked event was in the store within {waited_s + _POLL_S:.1f} s"
            yield Finding(carrier, Verdict.GOOD, took + _last(figures, carrier, now_ms()))
        if not missing or waited_s > settings.flush_interval_s + _PATIENCE_S:
            break
        sleep(_POLL_S)
        waited_s += _POLL_S
    for carrier in missing:
        yield Finding(
            carrier,
            Verdict.BAD,
            f"a marked event was not in the store after {waited_s:.0f} s",
            "`trace-agent status` says whether it was refused, dropped or waits",
        )


def _last(figures: Figures, carrier: str, now_ms: int) -> str:
    """Say when the input was last used before this check."""
    if figures.stats is None:
        return ""
    counts = cast("dict[str, JsonMap]", figures.stats["packets"])[carrier]
    last_ms = counts["last_ms"]
    if last_ms is None:
        return "; nobody else has used this input since the start"
    return f"; the last event before came {ago(cast('float', last_ms), now_ms)} ago"


def _mode(path: Path) -> int | None:
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return None


def _json(finding: Finding) -> JsonMap:
    return {
        "check": finding.check,
        "verdict": finding.verdict.value,
        "message": finding.message,
        "remedy": finding.remedy,
    }


def _print(findings: list[Finding]) -> None:
    from rich.text import Text  # noqa: PLC0415 - loaded by read commands that print, not by those before

    console = console_for(sys.stdout)
    width = max(len(finding.check) for finding in findings)
    for finding in findings:
        mark, style = _MARKS[finding.verdict]
        console.print(
            Text(f"{mark} ", style=style) + Text(f"{finding.check:<{width}}  {safe(finding.message)}"),
            soft_wrap=True,
        )
        if finding.remedy:
            console.print(Text(f"{'':<{width}}    → {safe(finding.remedy)}", style="bold"), soft_wrap=True)
