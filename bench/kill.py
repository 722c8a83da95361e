"""Kill a trace-agent by SIGKILL amid a load, again and again on one database, and look for losses.

    python bench/kill.py --times 10

What can be claimed: an event that was *known* to be accepted more than `flush_interval_s` + 0.5 s before
the kill must be in the database. Known means: HTTP answered 202 for it; or, on the one flow-controlled
Unix connection, whose frames are taken in order, `/v1/stats` had counted as many accepted packets.

After each kill a copy of the files is examined, so that the next start finds exactly what the dead
process left. Exit code 1 if an event is missing, a check fails or a start needs help.
"""

import argparse
import contextlib
import json
import random
import secrets
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from attrs import asdict, define, frozen

from bench.agent import Agent, AgentFailedError, agent, stop_on_sigterm
from bench.ledger import Ledger, write_events

_MARGIN_S = 0.5


@frozen
class Cycle:
    """What one kill did.

    Attributes:
        after_s: seconds of load before the kill.
        sent: events written to the sockets.
        known: events known to be accepted when it was killed.
        due: those of them that had to be in the database.
        found: of all that were sent, how many were in the database.
        missing: how many of the due ones were not.
        young_lost: known to be accepted, but too late to be due, and not found: the price of a kill.
        integrity: SQLite's own verdict.
        ready_ms: how long this cycle's start took.
        faults: everything else that is wrong.
    """

    after_s: float
    sent: int
    known: int
    due: int
    found: int
    missing: int
    young_lost: int
    integrity: str
    ready_ms: int
    faults: tuple[str, ...]

    @property
    def good(self) -> bool:
        """Say whether nothing is wrong."""
        return not self.missing and self.integrity == "ok" and not self.faults


@define
class Run:
    """One database over all its deaths.

    Attributes:
        prefix: first part of every id.
        due: ids that must be in the database for ever after.
        next: number of the next event of each carrier.
    """

    home: Path
    prefix: str
    settings: dict[str, str]
    program: str | None
    rate: float
    interval_s: float
    due: set[str]
    next: int = 0

    def cycle(self, after_s: float) -> Cycle:
        """Start, load, kill after `after_s` seconds, examine.

        Raises:
            AgentFailedError: it did not start.
        """
        with agent(settings=self.settings, home=self.home, program=self.program) as running:
            ledger = Ledger(self.prefix, self.next)
            with write_events(running.target, ledger, self.rate):
                time.sleep(after_s)
                alive = running.alive
                killed = time.monotonic()
                running.kill()
            self.next = ledger.next
            return self._examine(running, ledger, after_s, killed, alive)

    def _examine(self, running: Agent, ledger: Ledger, after_s: float, killed: float, alive: bool) -> Cycle:
        faults = [*ledger.faults]
        if not alive:
            faults.append(f"it had died by itself:\n{running.log()[-3000:]}")
        if "Traceback" in running.log():
            faults.append(f"traceback in its log:\n{running.log()[-3000:]}")
        faults += [f"put aside as damaged: {path.name}" for path in self.home.glob("*corrupt*")]
        integrity, found = examine_copy(running.database, self.prefix)
        due = ledger.accepted_before(killed - self.interval_s - _MARGIN_S)
        known = ledger.accepted_before(killed)
        self.due |= due
        return Cycle(
            after_s=round(after_s, 2),
            sent=ledger.sent,
            known=len(known),
            due=len(due),
            found=len(found & ledger.all_sent()),
            missing=len(self.due - found),
            young_lost=len(known - due - found),
            integrity=integrity,
            ready_ms=round(running.healthy_s * 1000),
            faults=tuple(faults),
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Kill as often as asked; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--times", type=int, default=10, help="how many kills (10)")
    parser.add_argument("--rate", type=float, default=5000, help="events a second over both carriers")
    parser.add_argument("--longest", type=float, default=5.0, help="seconds of load at most before a kill")
    parser.add_argument("--seed", type=int, default=None, help="of the moments of the kills")
    parser.add_argument("--interval", type=float, default=1.0, help="flush_interval_s to run with (1)")
    parser.add_argument("--program", help="trace-agent's command, by default the one beside this Python")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    stop_on_sigterm()
    seed = secrets.randbits(32) if options.seed is None else options.seed
    moments = random.Random(seed)
    cycles: list[Cycle] = []
    problems: list[str] = []
    with tempfile.TemporaryDirectory(prefix="trace-agent-kill-") as directory:
        run = Run(
            home=Path(directory),
            prefix=f"k{secrets.token_hex(4)}",
            settings={"flush_interval_s": f"{options.interval:g}"},
            program=options.program,
            rate=options.rate,
            interval_s=options.interval,
            due=set(),
        )
        try:
            for number in range(options.times):
                # Some kills hit the start itself, before anything is due; most hit a load in full swing.
                cycles.append(run.cycle(moments.uniform(0.3, options.longest)))
                if not options.json:
                    _print(number, cycles[-1])
            problems += _last_start(run)
        except (AgentFailedError, OSError) as error:
            problems.append(f"start {len(cycles) + 1}: {type(error).__name__}: {error}")
    problems += [f"kill {number + 1}" for number, cycle in enumerate(cycles) if not cycle.good]
    if options.json:
        print(json.dumps({"seed": seed, "cycles": [asdict(x) for x in cycles], "broken": problems}, indent=1))
    else:
        due = sum(cycle.due for cycle in cycles)
        print(f"seed {seed}: {len(cycles)} kills, {due:,} events were due, {len(problems)} problems")
        print("\n".join(f"BROKEN: {problem}" for problem in problems))
    return 1 if problems else 0


def examine_copy(database: Path, prefix: str) -> tuple[str, set[str]]:
    """Copy a dead process's database with its WAL; return SQLite's verdict and the ids found."""
    with tempfile.TemporaryDirectory(prefix="trace-agent-kill-copy-") as directory:
        for path in database.parent.glob(f"{database.name}*"):
            if not path.name.endswith("-shm"):  # only an index of the WAL, rebuilt by whoever opens it
                shutil.copy(path, directory)
        with contextlib.closing(sqlite3.connect(Path(directory) / database.name)) as connection:
            try:
                verdict = "; ".join(row[0] for row in connection.execute("PRAGMA integrity_check"))
                rows = connection.execute(
                    "SELECT id FROM events WHERE id >= ? AND id < ?", (prefix + "-", prefix + ".")
                ).fetchall()
            except sqlite3.DatabaseError as error:
                return f"{type(error).__name__}: {error}", set()
    return verdict, {row[0] for row in rows}


def _last_start(run: Run) -> list[str]:
    """Start once more, stop in peace, and look for everything that was ever due."""
    with agent(settings=run.settings, home=run.home, program=run.program) as running:
        running.stop()
        integrity, found = examine_copy(running.database, run.prefix)
    problems = []
    if integrity != "ok":
        problems.append(f"integrity after the last stop: {integrity}")
    if lost := run.due - found:
        problems.append(f"{len(lost)} of {len(run.due)} due events are gone in the end")
    return problems


def _print(number: int, cycle: Cycle) -> None:
    names = ("after_s", "sent", "known", "due", "found", "missing", "young_lost", "integrity", "ready_ms")
    if number == 0:
        print("kill " + " ".join(f"{name:>10}" for name in names))
    values = asdict(cycle)
    print(f"{number + 1:>4} " + " ".join(f"{values[name]!s:>10}" for name in names), flush=True)
    for fault in cycle.faults:
        print(f"     {fault}")


if __name__ == "__main__":
    sys.exit(main())
