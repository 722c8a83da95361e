"""Send a million hostile packets over all three carriers, and see that trace-agent lives and stays honest.

    python bench/fuzz.py --count 1000000 --seed 1

Invariant: whatever is sent, each packet is accepted, refused with a reason or dropped and counted, the
laws of CONTRACT section 4 hold, `/health` answers, every list can still be read as strict JSON, the
resident size stops growing, nothing but log lines is written to stderr, and SIGTERM ends with code 0.

It goes in rounds, and waits after each until all of it is judged; so a death names its round, and the
round's packets are kept in a file. Exit code 1 if anything of this is broken.
"""

import argparse
import contextlib
import secrets
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench.agent import Agent, AgentFailedError, agent, stop_on_sigterm
from bench.fuzz_checks import broken_reads, describe
from bench.fuzz_rounds import Fuzzer, RoundFailedError
from bench.tally import Tally, settle

_MIB = 1024 * 1024
# The tallest series table, buffers and caches are full long before a fifth of the run.
_WARM_SHARE = 0.2
# Memory is measured at rest: one body of 16 MiB moves any other look, and trace-agent gives back what a
# burst took at its next look at its heap, every 10 s.
_REST_S = 25.0
_GROWTH_LIMIT_BYTES = 6 * _MIB
_HEALTH_LIMIT_S = 1.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz once; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--count", type=int, default=1_000_000, help="packets over all carriers (1,000,000)")
    parser.add_argument("--seed", type=int, default=None, help="repeat an earlier run")
    parser.add_argument("--minutes", type=float, default=30.0, help="stop after this time at the latest")
    parser.add_argument("--keep", type=Path, default=None, help="where to write a round that failed")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="settings")
    parser.add_argument("--program", help="trace-agent's command, by default the one beside this Python")
    options = parser.parse_args(arguments)
    stop_on_sigterm()
    seed = secrets.randbits(32) if options.seed is None else options.seed
    keep = options.keep or Path(tempfile.gettempdir()) / f"fuzz-{seed}.round"
    print(f"seed {seed}", flush=True)
    problems: list[str] = []
    # A table of series that fills up late would look like a leak.
    settings = {"max_series": "2000"} | dict(pair.partition("=")[::2] for pair in options.set)
    try:
        with agent(settings=settings, program=options.program) as running:
            with contextlib.closing(Fuzzer(running.target, seed)) as fuzzer:
                problems += _fuzz(running, fuzzer, options, keep)
            if running.alive:
                try:
                    problems += _finish(running, fuzzer)
                except (AgentFailedError, OSError, ValueError) as error:
                    problems.append(f"in the end: {type(error).__name__}: {error}")
                    running.dies_within(5.0)
            problems += describe(running.log())
    except (AgentFailedError, OSError, ValueError) as error:
        problems.append(f"{type(error).__name__}: {error}")
    print("\n".join(f"BROKEN: {problem}" for problem in problems) or "nothing is broken")
    return 1 if problems else 0


def _fuzz(running: Agent, fuzzer: Fuzzer, options: argparse.Namespace, keep: Path) -> list[str]:
    """Run rounds until enough is sent; return what is wrong."""
    begun = shown = time.monotonic()
    target = running.target
    warm_rss: int | None = None
    while fuzzer.sent < options.count:
        try:
            fuzzer.round(options.count - fuzzer.sent)
        except (RoundFailedError, OSError, ValueError) as error:
            keep.write_bytes(fuzzer.last_round())
            gone = running.dies_within(5.0)
            state = f"gone, exit code {running.process.returncode}" if gone else "alive"
            where = f"round {fuzzer.rounds} ({fuzzer.carrier}), kept in {keep}"
            return [f"{where}: trace-agent is {state}: {type(error).__name__}: {error}"]
        now = time.monotonic()
        if warm_rss is None and fuzzer.sent >= _WARM_SHARE * options.count:
            warm_rss = _rss_at_rest(running)
        if now - shown > 10:
            shown = now
            rss = (target.rss_bytes() or 0) / _MIB
            print(
                f"  {fuzzer.sent:>9,} sent, {fuzzer.sent / (now - begun):,.0f}/s, RSS {rss:.1f} MiB",
                flush=True,
            )
        if now - begun > options.minutes * 60:
            return [f"only {fuzzer.sent} of {options.count} sent in {options.minutes:g} minutes"]
    end_rss = _rss_at_rest(running)
    warm_rss = end_rss if warm_rss is None else warm_rss
    growth = end_rss - warm_rss
    print(
        f"{fuzzer.sent:,} packets in {time.monotonic() - begun:.0f} s"
        f" ({', '.join(f'{name} {count:,}' for name, count in fuzzer.sent_by.items())})\n"
        f"RSS at rest, after {_WARM_SHARE:.0%}: {warm_rss / _MIB:.1f} MiB, in the end: "
        f"{end_rss / _MIB:.1f} MiB\n"
        f"/health: slowest {fuzzer.slowest_health_s * 1000:.1f} ms of {fuzzer.rounds} asked,"
        f" after round {fuzzer.slowest_round}"
    )
    problems = []
    if growth > _GROWTH_LIMIT_BYTES:
        problems.append(f"RSS grew by {growth / _MIB:.1f} MiB after {_WARM_SHARE:.0%} of the run")
    if fuzzer.slowest_health_s > _HEALTH_LIMIT_S:
        problems.append(f"/health took {fuzzer.slowest_health_s:.2f} s once")
    return problems + fuzzer.complaints()


def _rss_at_rest(running: Agent) -> int:
    """Return the resident memory after a time in which nothing was sent."""
    time.sleep(_REST_S)
    return running.target.rss_bytes() or 0


def _finish(running: Agent, fuzzer: Fuzzer) -> list[str]:
    """Check the laws, read everything back, stop in peace."""
    client = fuzzer.client
    tally = settle(client)
    _print_fates(tally)
    problems = tally.broken() + broken_reads(client)
    kernel = running.target.udp_queue()[1]
    if fuzzer.sent_by["udp"] != tally.packets["udp"].received + kernel:
        received = tally.packets["udp"].received
        problems.append(f"udp: sent {fuzzer.sent_by['udp']} is not received {received} + kernel {kernel}")
    running.stop()
    return problems


def _print_fates(tally: Tally) -> None:
    for name, packets in tally.packets.items():
        print(f"{name}: received {packets.received:,}, accepted {packets.accepted:,}")
        for word, reasons in (("refused", packets.refused), ("dropped", packets.dropped)):
            for reason, count in sorted(reasons.items(), key=lambda item: -item[1]):
                print(f"  {word:<8}{reason:<18}{count:>10,}")
    print(f"events: accepted {tally.events.accepted:,}, stored {tally.events.stored:,}")
    print(f"  folded {tally.events.folded:,}, repeated {tally.events.repeated:,}, dead {tally.events.dead:,}")
    for reason, count in sorted(tally.events.refused.items(), key=lambda item: -item[1]):
        print(f"  {'refused':<8}{reason:<18}{count:>10,}")
    for reason, count in tally.events.dropped.items():
        print(f"  {'dropped':<8}{reason:<18}{count:>10,}")


if __name__ == "__main__":
    sys.exit(main())
