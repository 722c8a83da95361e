"""Bind everything that packets come in by: settings in, open sockets with their real addresses out."""

import errno
import grp
from collections.abc import Callable
from pathlib import Path
from typing import Final

import trio

from trace_agent.core.errors import ListenError, SettingsError
from trace_agent.core.settings import Address, Settings
from trace_agent.ingest.http_service import bind_http
from trace_agent.ingest.udp import KernelDrops, bind_udp
from trace_agent.ingest.unix_listener import UnixListener, bind_unix

__all__ = ["Sockets", "UdpSocket"]

# Tries to find one number that is free for both UDP and TCP, when the system is to choose it.
_PORT_TRIES: Final = 16

UdpSocket = tuple[trio.socket.SocketType, KernelDrops]


class Sockets:
    """All listeners of one agent.

    Args:
        settings: where to listen.
        port_holder: tells who has a port, for the message when it is taken.

    Attributes:
        udp: sockets with the counters of what the kernel dropped.
        http: TCP listeners, on the same addresses and on `otlp_listen`.
        unix: the Unix listener.

    Raises:
        ListenError: an address cannot be had; those bound before are closed again.
        SettingsError: `socket_group` is no group of this machine.
    """

    def __init__(self, settings: Settings, port_holder: Callable[[int], str | None]) -> None:
        self.udp: list[UdpSocket] = []
        self.http: list[trio.SocketListener] = []
        self._port_holder = port_holder
        self._unix: UnixListener | None = None
        try:
            self._bind(settings.listen)
            if settings.otlp_listen is not None:
                hosts, port = settings.otlp_listen.hosts, settings.otlp_listen.port
                for host in hosts:
                    self._bind_http(host, port, "otlp_listen", first=host == hosts[0])
            self.unix = self._unix = bind_unix(
                Path(settings.socket), settings.socket_mode, _group_id(settings.socket_group)
            )
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close all that is open; closing again does nothing."""
        for sock, _ in self.udp:
            sock.close()
        for listener in self.http:
            listener.socket.close()
        if self._unix is not None:
            self._unix.close()
        self.udp, self.http, self._unix = [], [], None

    def _bind(self, listen: Address) -> None:
        """Bind UDP and TCP with the same number on each host."""
        port = listen.port
        for host in listen.hosts:
            first = host == listen.hosts[0]
            if first and port == 0:
                port = self._bind_free_pair(host)
            elif self._bind_http(host, port, "listen", first=first):
                self._bind_udp(host, port)

    def _bind_free_pair(self, host: str) -> int:
        for _ in range(_PORT_TRIES):
            listener = bind_http(host, 0)
            port = int(listener.socket.getsockname()[1])
            try:
                sock = bind_udp(host, port)
            except OSError:
                listener.socket.close()
                continue
            self.http.append(listener)
            self.udp.append((sock, KernelDrops(sock)))
            return port
        raise ListenError(f"{host}: no port is free for both UDP and TCP")

    def _bind_http(self, host: str, port: int, setting: str, *, first: bool) -> bool:
        """Bind TCP; return False where a second loopback address does not exist on this machine."""
        try:
            self.http.append(bind_http(host, port))
        except OSError as error:
            if not first and error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                return False
            raise self._taken(host, port, setting, error) from error
        return True

    def _bind_udp(self, host: str, port: int) -> None:
        try:
            sock = bind_udp(host, port)
        except OSError as error:
            raise self._taken(host, port, "listen", error) from error
        self.udp.append((sock, KernelDrops(sock)))

    def _taken(self, host: str, port: int, setting: str, error: OSError) -> ListenError:
        place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        if error.errno != errno.EADDRINUSE:
            return ListenError(f"cannot listen on {place}: {error.strerror} (setting `{setting}`)")
        holder = self._port_holder(port) or "another program"
        example = f"TRACE_AGENT_{setting.upper()}=127.0.0.1:{_another(port)}"
        clients = ", and tell the clients with TRACE_AGENT_PORT" if setting == "listen" else ""
        return ListenError(
            f"cannot listen on {place}: {holder} has that port; "
            f"choose another one, for example {example}{clients}"
        )


def _another(port: int) -> int:
    return port + 1 if port < 65_535 else 9091


def _group_id(group: str | None) -> int | None:
    if group is None:
        return None
    if group.isdecimal():
        return int(group)
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise SettingsError("socket_group", group, "there is no such group on this machine") from None
