"""Read DogStatsD's events and service checks: a line in, a map for `EventReader` out.

    _e{length,length}:title|text[|d:seconds][|h:host][|k:key][|p:priority][|s:source][|t:alert][|#tags]
    _sc|name|status[|d:seconds][|h:host][|#tags][|m:message]

(https://docs.datadoghq.com/developers/dogstatsd/datagram_shell; here both are called notices.) As clients
differ, we are wide in what we take: the lengths of `_e` count bytes (datadog) or characters (hot-shots), and
its text may hold raw newlines; so may the message of `_sc` (hot-shots): lines after it that are no StatsD
belong to it.
"""

import re
from contextlib import suppress
from itertools import pairwise
from typing import Final

from trace_agent.core.errors import EventError, Reason
from trace_agent.dialects.statsd_lines import (
    KINDS,
    LINE_CHARS,
    check_characters,
    check_length,
    stamp_ms,
    tags_of,
)

__all__ = ["NOTICES", "line_end", "read_notice"]

# How their lines begin.
NOTICES: Final = ("_e{", "_sc|")
# What a text may hold beside printable characters.
_WHITE_SPACE: Final = dict.fromkeys(map(ord, "\t\n\r"))
_EVENT_HEAD: Final = re.compile(r"_e\{([0-9]{1,4}),([0-9]{1,4})\}:")
_EVENT_FIELDS: Final = {
    "h": "hostname",
    "k": "aggregation_key",
    "p": "priority",
    "s": "source_type_name",
    "t": "alert_type",
}
_ALERT_SEVERITIES: Final = {"error": "error", "info": "info", "success": "info", "warning": "warning"}
_CHECK_STATUSES: Final = {
    "0": ("ok", "info"),
    "1": ("warning", "warning"),
    "2": ("critical", "error"),
    "3": ("unknown", "warning"),
}
# What may follow the message of a service check.
_ORIGIN_FIELDS: Final = ("c:", "card:", "e:")


def line_end(packet: str, start: int) -> int:
    """Return where the line that begins at `start` ends: at a newline, or at the end of the packet."""
    if packet.startswith("_e{", start):
        extent = _extent(packet, start)
        return _newline(packet, start if extent is None else extent[2])
    end = _newline(packet, start)
    if packet.startswith("_sc|", start) and packet.find("|m:", start, end) >= 0:
        while end < len(packet) and end - start <= LINE_CHARS:
            next_end = _newline(packet, end + 1)
            piece = packet[end + 1 : next_end]
            sections = pairwise(piece.split("|"))
            if piece.startswith(NOTICES) or any(":" in left and right in KINDS for left, right in sections):
                break
            end = next_end
    return end


def read_notice(line: str) -> dict[str, object]:
    """Return the event that a line of `_e` or `_sc` tells of, as a map for `EventReader`.

    Raises:
        EventError: the line cannot be read.
    """
    check_length(line)
    check_characters(line.translate(_WHITE_SPACE))
    return _event(line) if line.startswith("_e{") else _service_check(line)


def _newline(packet: str, start: int) -> int:
    end = packet.find("\n", start)
    return len(packet) if end < 0 else end


def _extent(packet: str, start: int) -> tuple[int, int, int] | None:
    """Return where title, `|` and text of an `_e` begin and end; None when its lengths fit in no unit."""
    head = _EVENT_HEAD.match(packet, start)
    if head is None:
        return None
    first = head.end()
    title_size, size = int(head[1]), int(head[1]) + 1 + int(head[2])
    if size > LINE_CHARS:
        return None  # no line may be that long, and looking at what is claimed would cost its square
    sizes = [(title_size, size)]
    if not packet[first : first + size].isascii():
        raw = packet[first : first + size].encode("utf-8", "surrogateescape")[:size]
        with suppress(UnicodeDecodeError):  # the lengths are no bytes if one cuts a character in two
            sizes.insert(0, (len(raw[:title_size].decode()), len(raw.decode()) if len(raw) == size else -1))
    for title_chars, chars in sizes:
        middle, end = first + title_chars, first + chars
        fits = middle < end <= len(packet) and packet[middle] == "|"
        if fits and (end == len(packet) or packet.startswith(("|", "\n", "\r\n"), end)):
            return first, middle, end
    return None


def _event(line: str) -> dict[str, object]:
    extent = _extent(line, 0)
    if extent is None:
        raise EventError(Reason.BAD_LINE, "an event is _e{title length,text length}:title|text")
    first, middle, end = extent
    fields, attributes = _options(line[end + 1 :], _EVENT_FIELDS)
    attributes["text"] = line[middle + 1 : end].replace("\\n", "\n")
    # A name is one line.
    fields["name"] = " ".join(line[first:middle].replace("\\n", "\n").split())
    fields["severity"] = _ALERT_SEVERITIES.get(str(attributes.get("alert_type")), "info")
    return {**fields, "attributes": attributes}


def _service_check(line: str) -> dict[str, object]:
    head, _, message = line.partition("|m:")
    name, status, options = [*head.split("|", 3)[1:], "", "", ""][:3]
    if not name or status not in _CHECK_STATUSES:
        raise EventError(Reason.BAD_LINE, "a service check is _sc|name|status, with a status of 0 to 3")
    check_characters(name)
    word, severity = _CHECK_STATUSES[status]
    fields, attributes = _options(options, {"h": "hostname"})
    end = len(message)
    while (cut := message.rfind("|", 0, end)) >= 0 and message.startswith(_ORIGIN_FIELDS, cut + 1):
        end = cut
    if text := message[:end].rstrip("\r\n"):
        attributes["message"] = text.replace("\\n", "\n").replace("m\\:", "m:")
    attributes |= {"check": name, "status": word}
    return {**fields, "name": "service_check", "severity": severity, "attributes": attributes}


def _options(text: str, names: dict[str, str]) -> tuple[dict[str, object], dict[str, object]]:
    """Return the fields and the attributes that optional sections stand for."""
    check_characters(text)
    fields: dict[str, object] = {}
    attributes: dict[str, object] = {}
    for section in text.split("|"):
        if section[:1] == "#":
            attributes["tags"] = tags_of(section)
        elif section[:2] == "d:":
            fields["ts"] = stamp_ms(section[2:])
        elif section[1:2] == ":" and section[0] in names:
            attributes[names[section[0]]] = section[2:]
    return fields, attributes
