"""Take the words of a call and leave its numbers: an event in, a smaller one out.

Tokens, cost, latency, status and errors outlive `input` and `output` where there is no room for all
(DESIGN 4).
"""

from typing import Final

from attrs import evolve

from trace_agent.core.events import Event, Failure, Llm

__all__ = ["shed"]

_MARK: Final = '"trace_agent.text_shed":true'


def shed(event: Llm | Event | Failure) -> tuple[Llm | Event | Failure, int]:
    """Return a call without its words, marked in its attributes, and how many characters they had.

    Any other event, and a call that has no words, comes back as it is.
    """
    if not isinstance(event, Llm) or (event.input is None and event.output is None):
        return event, 0
    chars = sum(len(part) for text in (event.input, event.output) if text is not None for part in text.parts)
    others = "" if event.attributes in (None, "{}") else f",{event.attributes[1:-1]}"
    return evolve(event, input=None, output=None, attributes=f"{{{_MARK}{others}}}"), chars
