"""Define the read commands, `emit` and `doctor`: sub-parsers out, each with a `perform(args, settings)`.

Everything a command needs is imported when it runs, so that `trace-agent run` carries none of it.
"""

import os
import sys
import time
from argparse import SUPPRESS, ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from trace_agent.core.errors import PeerError, SettingsError, TraceAgentError
from trace_agent.views.cost_commands import add_cost_parsers

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from trace_agent.core.settings import Settings
    from trace_agent.views.terminal import Clock

__all__ = ["add_parsers"]

_OK: Final = 0
_PROBLEM: Final = 1
_USAGE: Final = 2
_UNUSABLE: Final = 3

_Command = Callable[[Namespace, "Settings", "Clock"], int]

_CONTEXT: Final = ("agent", "session", "run")


def add_parsers(subparsers: "_SubParsersAction[ArgumentParser]") -> None:
    """Add the commands of this package; each sets `perform`, called with the parsed options and settings.

    `perform` returns an exit code (CONTRACT section 6): 0 fine, 1 found a problem, 2 wrong usage, 3 the
    agent cannot be reached or the store cannot be opened.
    """
    status = _add(subparsers, _status, "status", "how trace-agent and its store fare")
    _add_json(status)
    traces = _add_listing(
        subparsers, _traces, "traces", "model calls, newest first",
        (*_CONTEXT, "model", "provider", "status", "kind"), aliases=["tail"],
    )  # fmt: skip
    traces.add_argument("--id", metavar="ID", help="one call, with everything known of it")
    traces.add_argument("--text", action="store_true", help="with the words that went in and came out")
    _add_listing(subparsers, _events, "events", "events, newest first", (*_CONTEXT, "name"))
    _add_listing(subparsers, _errors, "errors", "errors, newest first", (*_CONTEXT, "kind"))
    _add_listing(subparsers, _metrics, "metrics", "windows of metrics, newest first", ("name", "kind"))
    add_cost_parsers(subparsers, _add, _add_times)
    _add_export(subparsers)
    _add_emit(subparsers)
    doctor = _add(
        subparsers, _doctor, "doctor", "send a marked event through every input and follow it into the store"
    )
    _add_json(doctor)


def _add(
    subparsers: "_SubParsersAction[ArgumentParser]",
    command: _Command,
    name: str,
    text: str,
    aliases: list[str] | None = None,
) -> ArgumentParser:
    parser = subparsers.add_parser(
        name, aliases=aliases or [], help=text, description=f"{text[0].upper()}{text[1:]}."
    )
    parser.set_defaults(perform=_guarded(command))
    return parser


def _add_json(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="JSON, the same as HTTP gives")


def _add_listing(
    subparsers: "_SubParsersAction[ArgumentParser]",
    command: _Command,
    name: str,
    text: str,
    filters: tuple[str, ...],
    aliases: list[str] | None = None,
) -> ArgumentParser:
    parser = _add(subparsers, command, name, text, aliases)
    _add_json(parser)
    _add_times(parser)
    parser.add_argument("--limit", metavar="N", help="rows at most (100; never more than 1000)")
    parser.add_argument("--cursor", metavar="NEXT", help="the `next` of an earlier --json")
    for option in filters:
        parser.add_argument(f"--{option}", metavar=option.upper(), help=f"only those of this {option}")
    if name == "metrics":
        # A window changes after it was first stored, so it cannot be followed as a row.
        parser.set_defaults(follow=False)
    else:
        parser.add_argument(
            "-f", "--follow", action="store_true", help="go on with what arrives, until Ctrl-C"
        )
    return parser


def _add_times(parser: ArgumentParser) -> None:
    when = "15m, 24h, 7d ago, Unix milliseconds or RFC 3339"
    parser.add_argument("--since", metavar="WHEN", help=f"from then on: {when}")
    parser.add_argument("--until", metavar="WHEN", help="before then")


def _add_export(subparsers: "_SubParsersAction[ArgumentParser]") -> None:
    parser = _add(subparsers, _export, "export", "everything stored, as JSON lines, oldest first")
    parser.add_argument(
        "--type", action="append", dest="types", choices=("llm", "event", "error", "metric"),
        help="only these; may be repeated",
    )  # fmt: skip
    _add_times(parser)
    parser.add_argument("--no-text", action="store_false", dest="text", help="without the words of calls")
    parser.add_argument("-o", "--output", metavar="FILE", help="a file of mode 0600 instead of stdout")


def _add_emit(subparsers: "_SubParsersAction[ArgumentParser]") -> None:
    parser = _add(subparsers, _emit, "emit", "send one event to the running agent")
    parser.add_argument(
        "--json", dest="raw", metavar="JSON", help="the event, or a list of them; - reads stdin"
    )
    parser.add_argument(
        "--via", choices=("udp", "unix", "http"), help="unix where its socket is there, else udp"
    )
    types = parser.add_subparsers(dest="type", metavar="TYPE", parser_class=_AnyOrder)
    common = _AnyOrder(add_help=False)
    # Repeated here, so that options may stand on either side of the type.
    common.add_argument("--via", choices=("udp", "unix", "http"), default=SUPPRESS, help=SUPPRESS)
    common.add_argument("--ts", help="when it happened, Unix milliseconds or RFC 3339; now")
    context = _AnyOrder(add_help=False, parents=[common])
    for option in ("id", *_CONTEXT):
        context.add_argument(f"--{option}", metavar=option.upper())

    llm = types.add_parser("llm", parents=[context], help="a model call")
    for option in _LLM_OPTIONS:
        llm.add_argument(f"--{option}", metavar=option.rpartition("-")[2].upper())
    event = types.add_parser("event", parents=[context], help="something that happened")
    event.add_argument("name", metavar="NAME")
    event.add_argument("--duration-ms", metavar="MS")
    error = types.add_parser("error", parents=[context], help="an error")
    error.add_argument("kind", metavar="KIND", help="dotted: tool.failed")
    error.add_argument("--message")
    error.add_argument("--source")
    for one in (event, error):
        one.add_argument("--severity", choices=("debug", "info", "warning", "error", "fatal"))
    for one in (llm, event, error):
        one.add_argument("attributes", metavar="KEY=VALUE", nargs="*", help="JSON values or text")
    metric = types.add_parser("metric", parents=[common], help="a sample of a metric")
    metric.add_argument("name", metavar="NAME")
    metric.add_argument(
        "value", metavar="VALUE", help="a number, or StatsD's '5|c', '5|g', '5|ms', '5|h', '5|d', 'x|s'"
    )
    metric.add_argument("tags", metavar="KEY:VALUE", nargs="*")
    metric.add_argument("--kind", choices=("gauge", "counter", "timer", "histogram", "distribution", "set"))


class _AnyOrder(ArgumentParser):
    """Takes words and options in any order: argparse ends a list of words at the first option."""

    _mixing = False

    def parse_known_args(  # type: ignore[override]  # typeshed has overloads for other namespaces
        self, args: Sequence[str] | None = None, namespace: Namespace | None = None
    ) -> tuple[Namespace, list[str]]:
        if self._mixing:  # it is built on this method
            return super().parse_known_args(args, namespace)
        self._mixing = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._mixing = False


_LLM_OPTIONS: Final = (
    "provider", "model", "operation", "input", "output",
    "input-tokens", "output-tokens", "cache-read-tokens", "cache-write-tokens",
    "cost-usd", "latency-ms", "ttft-ms", "status", "error-kind", "error-code", "error-message",
    "finish-reason", "request-id",
)  # fmt: skip


def _guarded(command: _Command) -> Callable[[Namespace, "Settings"], int]:
    """Turn what commands raise into a line on stderr and an exit code."""

    def run(args: Namespace, settings: "Settings") -> int:
        from trace_agent.views.terminal import safe, tolerate  # noqa: PLC0415 - see the module's docstring

        tolerate(sys.stderr)
        try:
            code = command(args, settings, _now_ms)
            sys.stdout.flush()
        except BrokenPipeError:
            # Whoever reads has seen enough. Python would complain again when it flushes at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return _OK
        except PeerError as error:
            sys.stderr.write(f"trace-agent: {safe(error.detail or str(error))}\n")
            return _USAGE
        except SettingsError:
            raise
        except TraceAgentError as error:  # the store, or nobody who answers
            sys.stderr.write(f"trace-agent: {safe(str(error))}\n")
            return _UNUSABLE
        except KeyboardInterrupt:
            return _PROBLEM
        return code

    return run


def _now_ms() -> int:
    return time.time_ns() // 1_000_000  # noqa: TID251 - the command line is where the clock is read


def _sleep(seconds: float) -> None:
    time.sleep(seconds)  # noqa: TID251 - a command has no event loop to stop


def _status(args: Namespace, settings: "Settings", now_ms: "Clock") -> int:
    from trace_agent.views.status import run_status  # noqa: PLC0415 - see the module's docstring

    return run_status(args, settings, now_ms)


def _traces(args: Namespace, settings: "Settings", now_ms: "Clock") -> int:
    from trace_agent.views.report import run_traces  # noqa: PLC0415

    return run_traces(args, settings, now_ms, _sleep)


def _events(args: Namespace, settings: "Settings", now_ms: "Clock") -> int:
    from trace_agent.views.report import run_events  # noqa: PLC0415

    return run_events(args, settings, now_ms, _sleep)


def _errors(args: Namespace, settings: "Settings", now_ms: "Clock") -> int:
    from trace_agent.views.report import run_errors  # noqa: PLC0415

    return run_errors(args, settings, now_ms, _sleep)


def _metrics(args: Namespace, settings: "Settings", now_ms: "Clock") -> int:
    from trace_agent.views.report import run_metrics  # noqa: PLC0415

    return run_metrics(args, settings, now_ms, _sleep)


def _export(args: Namespace, settings: "Settings", now_ms: "Clock") -> int:
    from trace_agent.views.export import run_export  # noqa: PLC0415

    try:
        return run_export(args, settings, now_ms)
    except BrokenPipeError:
        raise
    except OSError as error:
        sys.stderr.write(f"trace-agent: {args.output or 'stdout'}: {error.strerror}\n")
        return _PROBLEM


def _emit(args: Namespace, settings: "Settings", now_ms: "Clock") -> int:
    from trace_agent.views.probe import run_emit  # noqa: PLC0415

    return run_emit(args, settings, now_ms)


def _doctor(args: Namespace, settings: "Settings", now_ms: "Clock") -> int:
    from trace_agent.views.doctor import run_doctor  # noqa: PLC0415

    return run_doctor(args, settings, now_ms, _sleep)
