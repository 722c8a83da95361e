"""Load a trace-agent and say what became of every packet, how fast, and at what cost.

    python bench/load.py --start --carrier unix --flow --flood --count 200000
    python bench/load.py --start --carrier udp --rate 10000 --seconds 10 --kind statsd

Exit code 1 if a law does not hold (see `report.broken_laws`) or an aim given by `--aim-..` is missed.
"""

import argparse
import contextlib
import json
import secrets
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from attrs import evolve

from bench.agent import Agent, AgentFailedError, Target, agent, stop_on_sigterm
from bench.blocks import Recipe, build_block
from bench.client import Client
from bench.probes import watch
from bench.report import Outcome, broken_laws, count_rows, figures, table
from bench.senders import Plan, send_load
from bench.tally import read_tally, settle


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one load; return the exit code."""
    options = _parse(arguments)
    stop_on_sigterm()
    recipe = Recipe(options.kind, options.format, options.batch, options.size, f"b{secrets.token_hex(4)}")
    try:
        outcome, problems = _measure(options, recipe)
    except (AgentFailedError, OSError, RuntimeError, ValueError) as error:
        print(f"load: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    problems += broken_laws(outcome)
    problems += [f"sender: {failure}" for failure in outcome.sent.failures]
    problems += [f"/health: {failure}" for failure in outcome.probes.health_failures[:5]]
    groups = figures(outcome)
    for group, name, limit in (
        ("latency_ms", "health_max", options.aim_health_ms),
        ("memory_mib", "rss_peak", options.aim_rss_mib),
    ):
        value = groups[group][name]
        if limit is not None and isinstance(value, int | float) and value > limit:
            problems.append(f"aim: {name} is {value:g}, above {limit:g}")
    if options.json:
        print(json.dumps({"options": vars(options), **groups, "broken": problems}, indent=1, default=str))
    else:
        print(table(groups))
        print("\n".join(f"BROKEN: {problem}" for problem in problems) or "all laws hold")
    return 1 if problems else 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--carrier", choices=("udp", "unix", "http"), required=True)
    parser.add_argument("--flow", action="store_true", help="Unix: ask for flow control")
    pace = parser.add_mutually_exclusive_group(required=True)
    pace.add_argument("--rate", type=float, help="packets a second, all senders together")
    pace.add_argument("--flood", action="store_true", help="as fast as they go")
    parser.add_argument("--seconds", type=float, help="how long at most (10 unless --count is given)")
    parser.add_argument("--count", type=int, help="packets at most, all senders together")
    parser.add_argument("--size", type=int, default=300, help="bytes of one encoded event (300)")
    parser.add_argument("--kind", choices=("llm", "event", "statsd"), default="event")
    parser.add_argument("--format", choices=("cbor", "json"), default="cbor")
    parser.add_argument("--batch", type=int, default=1, help="events (StatsD: lines) a packet")
    parser.add_argument("--connections", type=int, default=1, help="Unix or HTTP connections of each sender")
    parser.add_argument("--senders", type=int, default=1, help="processes")
    parser.add_argument("--no-markers", action="store_true", help="do not measure the time to commit")
    parser.add_argument("--start", action="store_true", help="start a trace-agent for this, and stop it")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="its settings")
    parser.add_argument("--program", help="its command, by default the one beside this Python")
    parser.add_argument("--listen", default="127.0.0.1:9090", help="without --start: where it is")
    parser.add_argument("--socket", default="", help="without --start: its Unix socket")
    parser.add_argument("--db", type=Path, help="without --start: its database, for the time to commit")
    parser.add_argument("--pid", type=int, help="without --start: its process, for CPU and memory")
    parser.add_argument("--aim-health-ms", type=float, help="fail if one /health takes longer")
    parser.add_argument("--aim-rss-mib", type=float, help="fail if the resident size grows larger")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    if options.kind == "statsd" and options.carrier == "http":
        parser.error("StatsD does not travel over HTTP")
    if options.batch < 1 or options.senders < 1 or options.connections < 1:
        parser.error("--batch, --senders and --connections are at least 1")
    if options.seconds is None:
        options.seconds = 600.0 if options.count else 10.0
    return options


def _measure(options: argparse.Namespace, recipe: Recipe) -> tuple[Outcome, list[str]]:
    with contextlib.ExitStack() as stack:
        ours: Agent | None = None
        database = options.db
        if options.start:
            settings = dict(pair.partition("=")[::2] for pair in options.set)
            ours = stack.enter_context(agent(settings=settings, program=options.program))
            target, database = ours.target, ours.database
        else:
            host, _, port = options.listen.rpartition(":")
            target = Target(host, int(port), options.socket, options.pid)
        outcome = _load(options, recipe, target, None if options.no_markers else database)
        if ours is None:
            return outcome, []
        problems = []
        try:
            ours.stop()
        except AgentFailedError as error:
            problems.append(f"stop: {error}")
        if "Traceback" in ours.log():
            problems.append(f"traceback in its log:\n{ours.log()[-4000:]}")
        return evolve(outcome, rows=count_rows(ours.database)), problems


def _load(options: argparse.Namespace, recipe: Recipe, target: Target, database: Path | None) -> Outcome:
    share = options.senders
    count = options.count or 1_000_000_000
    plans = [
        Plan(
            carrier=options.carrier,
            host=target.host,
            port=target.port,
            socket_path=target.socket_path,
            recipe=recipe,
            rate=None if options.flood else options.rate / share,
            packets=count // share + (number < count % share),
            seconds=options.seconds,
            flow=options.flow,
            connections=options.connections,
            number=number,
        )
        for number in range(share)
    ]
    with contextlib.closing(Client(target.host, target.port, 30.0)) as client:
        before, idle_memory = read_tally(client), target.memory()
        drops, backlog = target.udp_queue()[1], _backlog_drops()
        begun: list[tuple[float | None, float | None]] = []
        with watch(target, recipe.run, database=database) as probes:
            sent = send_load(plans, lambda: begun.append((target.cpu_s(), target.cpu_wait_s())))
            ended = time.monotonic()
            probes.markers_done.set()
            while read_tally(client).waiting and time.monotonic() < ended + 60:
                time.sleep(0.02)
            settled_s = time.monotonic() - ended
        tally = settle(client)
        cpu_s, wait_s = target.cpu_s(), target.cpu_wait_s()
        return Outcome(
            carrier=options.carrier,
            recipe=recipe,
            sent=sent,
            event_bytes=build_block(recipe, options.carrier, 1, 0, target.port).event_bytes,
            probes=probes,
            tally=tally.since(before),
            kernel_drops=target.udp_queue()[1] - drops,
            backlog_drops=_backlog_drops() - backlog,
            rows=None,
            cpu_s=_less(cpu_s, begun[0][0]),
            cpu_wait_s=_less(wait_s, begun[0][1]),
            idle_memory=idle_memory,
            end_memory=target.memory(),
            settled_s=settled_s,
        )


def _less(now: float | None, earlier: float | None) -> float | None:
    return None if now is None or earlier is None else now - earlier


def _backlog_drops() -> int:
    """Return packets that the CPUs' input queues dropped (netdev_max_backlog): lost before any socket."""
    lines = Path("/proc/net/softnet_stat").read_text(encoding="ascii").splitlines()
    return sum(int(line.split()[1], 16) for line in lines)


if __name__ == "__main__":
    sys.exit(main())
