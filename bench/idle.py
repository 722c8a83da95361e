"""Measure a trace-agent that nobody sends anything: start-up time, CPU share, wake-ups and memory.

python bench/idle.py --seconds 60
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench.agent import AgentFailedError, Target, agent, stop_on_sigterm

_MIB = 1024 * 1024
# What the start leaves to do (checks, first collections) is no part of idling.
_CALM_S = 2.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Watch one idle agent; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="settings")
    parser.add_argument("--program", help="trace-agent's command, by default the one beside this Python")
    parser.add_argument("--aim-cpu-percent", type=float, help="fail above this share of one core")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    stop_on_sigterm()
    settings = dict(pair.partition("=")[::2] for pair in options.set)
    try:
        with agent(settings=settings, program=options.program) as running:
            target = running.target
            cpu_start_s = target.cpu_s()
            time.sleep(_CALM_S)
            begun, cpu, wakes = time.monotonic(), target.cpu_s(), _wake_ups(target)
            time.sleep(min(options.seconds, 3600.0))
            took = time.monotonic() - begun
            cpu_end, wakes_end, memory = target.cpu_s(), _wake_ups(target), target.memory()
            stop_s = running.stop()
    except AgentFailedError as error:
        print(f"idle: {error}", file=sys.stderr)
        return 1
    assert cpu is not None
    assert cpu_end is not None
    assert memory is not None
    share = (cpu_end - cpu) / took * 100
    notified = running.notified_s
    figures = {
        "ready_ms": None if notified is None else round(notified * 1000),
        "healthy_ms": round(running.healthy_s * 1000),
        "start_cpu_s": round(cpu_start_s or 0.0, 3),
        "idle_s": round(took, 1),
        "cpu_percent_of_a_core": round(share, 3),
        "wake_ups_per_s": round((wakes_end - wakes) / took, 1),
        "rss_mib": round((memory.rss or 0) / _MIB, 1),
        "pss_mib": round((memory.pss or 0) / _MIB, 1),
        "private_mib": round((memory.private or 0) / _MIB, 1),
        "stop_ms": round(stop_s * 1000),
    }
    if options.json:
        print(json.dumps(figures, indent=1))
    else:
        print(
            "\n".join(f"{name:<24}{'-' if value is None else value:>10}" for name, value in figures.items())
        )
    if options.aim_cpu_percent is not None and share > options.aim_cpu_percent:
        print(f"BROKEN: {share:.3f} % of a core, above {options.aim_cpu_percent:g} %")
        return 1
    return 0


def _wake_ups(target: Target) -> int:
    """Count how often its threads went to sleep by themselves; each costs a wake-up later."""
    total = 0
    for status in Path(f"/proc/{target.pid}/task").glob("*/status"):
        lines = status.read_text(encoding="ascii").splitlines()
        total += sum(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches"))
    return total


if __name__ == "__main__":
    sys.exit(main())
