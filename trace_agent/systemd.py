"""Tell systemd how far we are, if it asked: a word in, a datagram to its socket out (sd_notify(3))."""

import os
import socket
from collections.abc import Mapping

__all__ = ["notify"]


def notify(state: str, env: Mapping[str, str]) -> bool:
    """Send `state` (`READY=1`, `STOPPING=1`) to `NOTIFY_SOCKET`; return whether there was one to take it.

    A service manager that is gone is no reason to stop.
    """
    address = env.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    # "@" stands for the zero byte of Linux' abstract names.
    name = f"\0{address[1:]}" if address.startswith("@") else address
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(state.encode(), os.fsencode(name))
    except OSError:
        return False
    return True
