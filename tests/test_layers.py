"""The order of the house: `ls trace_agent` is the architecture.

What stands in `trace_agent` (packages and modules alike) imports only what stands above it in the listing;
inside a package imports form no cycle; `core` and `dialects` never touch the world. `trace_agent/__init__`
and `trace_agent/__main__` alone may import anything, and nothing imports `__main__`.
"""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Final

import pytest

import trace_agent

PURE: Final = ("core", "dialects")
FREE: Final = ("trace_agent", "trace_agent.__main__")
# Modules that know a clock, chance, the file system, the network, processes, or the caller's surroundings.
# fmt: off
WORLDLY: Final = {
    "aiosqlite", "anyio", "asyncio", "ctypes", "fcntl", "fileinput", "getpass", "glob", "http", "httpx",
    "importlib", "locale", "logging", "mmap", "multiprocessing", "os", "pathlib", "platform", "psutil",
    "pwd", "random", "requests", "resource", "rich", "secrets", "select", "selectors", "shutil",
    "signal", "socket", "socketserver", "sqlite3", "ssl", "subprocess", "tempfile", "threading", "time",
    "tomllib", "trio", "urllib.request", "urllib3", "uuid",
}
# fmt: on
# The same by other doors: built-in functions, and clocks of a module that is fine otherwise.
WORLDLY_CALLS: Final = {
    "open",
    "print",
    "input",
    "datetime.now",
    "datetime.utcnow",
    "datetime.today",
    "date.today",
}


def violations(root: Path) -> list[str]:
    """Return a sentence for each import or call below `root` that breaks the order."""
    files = {_module_name(path, root): path for path in sorted(root.rglob("*.py"))}
    found: list[str] = []
    inside: dict[str, dict[str, set[str]]] = {}
    for module, path in files.items():
        part = _part(module)
        for node in ast.walk(ast.parse(path.read_text())):
            for target in _targets(node, module, is_package=path.name == "__init__.py"):
                line = f"{path.relative_to(root.parent)}:{getattr(node, 'lineno', 0)}"
                if part in PURE and _is_worldly(target):
                    found.append(f"{line}: {part} is pure and uses {target}")
                inner = _known(target, files)
                if inner == "trace_agent.__main__":
                    found.append(f"{line}: nothing imports __main__")
                elif inner is None or inner == "trace_agent" or module in FREE:
                    continue
                elif _part(inner) == part:
                    inside.setdefault(part, {}).setdefault(module, set()).add(inner)
                elif _part(inner) > part:
                    found.append(f"{line}: {part} imports {_part(inner)}, which stands below it")
    for part, graph in inside.items():
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as exc:
            found.append(f"{part}: imports form a cycle: {' <- '.join(exc.args[1])}")
    return found


def _targets(node: ast.AST, module: str, *, is_package: bool) -> Iterator[str]:
    """Name what a node imports or calls, absolutely."""
    match node:
        case ast.Import():
            yield from (alias.name for alias in node.names)
        case ast.ImportFrom():
            package = module.split(".") if is_package else module.split(".")[:-1]
            above = package[: len(package) - (node.level - 1)] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)
        case ast.Call():
            yield f"{ast.unparse(node.func)}()"
        case _:
            pass


def _is_worldly(target: str) -> bool:
    if target.endswith("()"):
        return target.removesuffix("()") in WORLDLY_CALLS
    words = target.split(".")
    return any(".".join(words[:length]) in WORLDLY for length in range(1, len(words) + 1))


def _known(target: str, files: dict[str, Path]) -> str | None:
    """Return the module of ours that a dotted name leads to: `a.b` for `a.b.Name`."""
    words = target.split(".")
    while words and ".".join(words) not in files:
        words.pop()
    return ".".join(words) or None


def _module_name(path: Path, root: Path) -> str:
    words = path.relative_to(root.parent).with_suffix("").parts
    return ".".join(words[:-1] if words[-1] == "__init__" else words)


def _part(module: str) -> str:
    """Return the line of the listing that a module belongs to."""
    return [*module.split("."), ""][1]


def test_the_order_is_kept() -> None:
    """No file of the package breaks the order."""
    root = Path(trace_agent.__file__).parent

    assert violations(root) == []


@pytest.mark.parametrize(
    ("file", "source", "sentence"),
    [
        ("core/a.py", "import trace_agent.store.b", "core imports store, which stands below it"),
        ("core/a.py", "from trace_agent import wiring", "core imports wiring, which stands below it"),
        ("core/a.py", "from ..store.b import x", "core imports store, which stands below it"),
        ("core/__init__.py", "from ..store import b", "core imports store, which stands below it"),
        (
            "store/b.py",
            "def f():\n    import trace_agent.wiring",
            "store imports wiring, which stands below it",
        ),
        ("store/b.py", "from trace_agent.store import c", "trace_agent.store.b <- trace_agent.store.c"),
        ("store/b.py", "from .b import x", "store: imports form a cycle"),
        ("store/b.py", "from trace_agent.__main__ import main", "nothing imports __main__"),
        ("core/a.py", "import os.path", "core is pure and uses os.path"),
        ("core/a.py", "from urllib import request", "core is pure and uses urllib.request"),
        ("dialects/d.py", "def f():\n    from time import time_ns", "dialects is pure and uses time.time_ns"),
        ("dialects/d.py", "x = open('a')", "dialects is pure and uses open()"),
        ("core/a.py", "x = datetime.now(UTC)", "core is pure and uses datetime.now()"),
    ],
)
def test_a_breach_is_seen(tmp_path: Path, file: str, source: str, sentence: str) -> None:
    """A file that breaks the order is reported with its name, and no other."""
    found = violations(_house(tmp_path, {file: source}))

    assert len(found) == 1
    assert sentence in found[0]
    assert file in found[0] or "cycle" in found[0]


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("__main__.py", "import time\nfrom trace_agent import wiring"),
        ("__init__.py", "from trace_agent.wiring import x"),
        ("store/b.py", "import time\nfrom trace_agent import __version__\nfrom ..core.a import x"),
        ("core/a.py", "import json, trace_agent.core.e\nfrom urllib.parse import urlsplit\nx = self.open()"),
        ("wiring.py", "from trace_agent.store import b\nfrom trace_agent.dialects.d import x"),
    ],
)
def test_what_is_allowed_passes(tmp_path: Path, file: str, source: str) -> None:
    """Upward imports, imports of siblings and the two free modules are no breach."""
    assert violations(_house(tmp_path, {file: source})) == []


def _house(tmp_path: Path, changed: dict[str, str]) -> Path:
    """Build a small, orderly package, with some files written differently."""
    orderly = {
        "__init__.py": "",
        "__main__.py": "from trace_agent.wiring import x",
        "core/__init__.py": "",
        "core/a.py": "",
        "core/e.py": "",
        "dialects/__init__.py": "",
        "dialects/d.py": "from trace_agent.core import a",
        "store/__init__.py": "",
        "store/b.py": "",
        "store/c.py": "from trace_agent.store.b import x",
        "wiring.py": "import trace_agent.store.c",
    }
    root = tmp_path / "trace_agent"
    for name, source in (orderly | changed).items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    return root
