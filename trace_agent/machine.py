"""Ask this machine: its clock, its environment and files in, `Settings` and facts for messages out.

Everything here reads the world, so that `core` need not.
"""

import os
import time
import tomllib
from pathlib import Path

import psutil

from trace_agent.core.errors import SettingsError
from trace_agent.core.settings import MachineFacts, Settings, config_files, load

__all__ = ["now_ms", "port_holder", "read_settings"]

_DATA = Path("/data")


def now_ms() -> int:
    """Return the wall clock, Unix milliseconds."""
    return time.time_ns() // 1_000_000  # noqa: TID251 - the one place that reads it for the agent


def read_settings(config: str | None) -> Settings:
    """Read the settings from the environment and the first configuration file there is.

    Args:
        config: the value of `--config`.

    Raises:
        SettingsError: naming key, value and remedy.
    """
    tables = []
    for file in config_files(config, os.environ):
        try:
            path = Path(file.path).expanduser()
            text = path.read_bytes().decode()
            tables.append((str(path), tomllib.loads(text)))
        except FileNotFoundError:
            if file.required:
                key = "--config" if config is not None else "TRACE_AGENT_CONFIG"
                raise SettingsError(key, file.path, "there is no such file") from None
            continue
        except (OSError, ValueError, RuntimeError) as error:  # `~nobody` is no home, for example
            raise SettingsError("configuration file", file.path, f"cannot be read: {error}") from error
        break
    return load(os.environ, tables, _facts())


def port_holder(port: int) -> str | None:
    """Return which other process listens on a local port, as far as this user may know."""
    try:
        connections = psutil.net_connections("inet")
    except (psutil.Error, OSError):  # macOS and hardened kernels tell root only
        return None
    for connection in connections:
        listens = connection.status in (psutil.CONN_LISTEN, psutil.CONN_NONE)
        if listens and connection.laddr and connection.laddr.port == port and connection.pid:
            if connection.pid == os.getpid():  # we have its TCP half by now, another one the UDP half
                continue
            try:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
            except psutil.Error:
                return f"pid {connection.pid}"
    return None


def _facts() -> MachineFacts:
    home = _home()
    return MachineFacts(
        uid=os.getuid(),
        home=str(home),
        xdg_runtime_dir=os.environ.get("XDG_RUNTIME_DIR"),
        xdg_state_home=os.environ.get("XDG_STATE_HOME"),
        data_writable=os.access(_DATA, os.W_OK | os.X_OK),
        openclaw_home_exists=(home / ".openclaw").is_dir(),
    )


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:  # neither HOME nor an entry for this user, as in containers
        return Path("/")
