"""Who may include and import whom: a file knows its own layer and the ones below, nothing else."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE = ROOT / "csrc" / "core"
PACKAGE = ROOT / "pylambdamap" / "lambdamap"

# Each floor sees itself and those below; wire, http and policy do not see each other.
FLOORS = [
    {"base"},
    {"wire", "http", "policy"},
    {"os"},
    {"job"},
    {"sched"},
    {"transport"},
    {"dispatch"},
]
FLOOR = {folder: i for i, folders in enumerate(FLOORS) for folder in folders}
# A library, and the only files that may know it.
LIBRARIES = {
    "curl/": {"os/stream.c"},
    "openssl/": {"transport/sigv4.c", "os/tls.c"},
    "zlib.h": {"wire/deflate.c"},
    "msgpack": {"wire/mpread.h"},
    "pthread.h": {
        f"{folder}/{path.name}"
        for folder in ("os", "job", "sched", "transport", "dispatch")
        for path in (CORE / folder).glob("*")
    },
    "sys/socket.h": {"os/stream.c"},
}
C_FILES = sorted(path for path in CORE.rglob("*.[ch]"))


def includes(path: Path) -> list[str]:
    return re.findall(r'^\s*#\s*include\s+[<"]([^>"]+)[>"]', path.read_text(), re.MULTILINE)


@pytest.mark.parametrize("path", C_FILES, ids=lambda path: str(path.relative_to(CORE)))
def test_core_includes(path: Path) -> None:
    name = path.relative_to(CORE).as_posix()
    mine = name.partition("/")[0]
    for header in includes(path):
        assert header != "Python.h", "the core knows no Python"
        folder = header.partition("/")[0]
        if (CORE / header).exists():
            assert folder == mine or FLOOR[folder] < FLOOR[mine], f"{name} includes {header}"
        for library, knowers in LIBRARIES.items():
            assert not header.startswith(library) or name in knowers, f"{name} includes {header}"


def test_python_h_is_in_one_header() -> None:
    binding = ROOT / "csrc" / "python"
    users = [p.name for p in binding.rglob("*.[ch]") if "Python.h" in includes(p)]
    assert users == ["lmpy.h"]


def test_every_core_header_says_what_it_is() -> None:
    for path in CORE.rglob("*.h"):
        assert path.read_text().startswith("/* "), path.name


# What each Python package or module may import of lambdamap. A module not named here may import
# only the bottom row.
BOTTOM = {
    "_version", "errors", "_codec", "_exceptions", "_frames", "_kinds", "_names", "_pickles", "envelope",
    "_process",
}  # fmt: skip
ALLOWED = {
    "worker": BOTTOM | {"worker"},
    "local": BOTTOM | {"local"},
    "backends": BOTTOM | {"backends", "credentials", "options", "local", "worker", "_net"},
    "cli": {"*"},
    "deploy": BOTTOM | {"deploy"},
    "__main__": {"cli"},
    "__init__": BOTTOM
    | {"aio", "api", "classic", "executor", "integrations", "options", "results", "stats"},
    "ambient": BOTTOM | {"worker"},
    "options": BOTTOM | {"ambient"},
    "integrations": {"*"},
    "functions": BOTTOM,
    "credentials": BOTTOM,
    "progress": set(),
    "stats": set(),
    "plain": BOTTOM,
    "log": {"_net", "backends", "engine"},
    "failures": BOTTOM | {"_net", "backends"},
    "waiting": set(),
    "engine": BOTTOM
    | {"ambient", "backends", "failures", "log", "options", "plain", "progress", "stats"}
    | {"_net", "waiting"},
    "launch": BOTTOM
    | {"backends", "engine", "functions", "log", "options", "plain", "worker", "_net"},
    "results": {"engine", "errors", "stats"},
    "api": BOTTOM | {"launch", "options", "results"},
    "aio": BOTTOM | {"api", "engine", "launch", "options", "results"},
    "pump": BOTTOM | {"ambient", "engine", "failures", "functions", "launch", "options", "waiting"},
    "executor": BOTTOM
    | {"ambient", "api", "engine", "functions", "launch", "options", "pump", "worker"},
    "classic": BOTTOM | {"api", "backends", "failures", "options", "worker", "functions"},
}


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "lambdamap":
                found |= {alias.name for alias in node.names}
            elif node.module.startswith("lambdamap."):
                found.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("lambdamap.")}
    return found


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_python_imports(path: Path) -> None:
    place = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    allowed = ALLOWED.get(place, BOTTOM)
    if "*" not in allowed:
        assert imports(path) <= allowed


def test_the_worker_needs_only_the_codec() -> None:
    for path in (PACKAGE / "worker").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                names.append(node.module)
            heavy = {"asyncio", "click", "h11", "tqdm", "boto3", "lambdamap._net"}
            assert not heavy & set(names), path.name


def test_files_stay_small() -> None:
    for path in [*ROOT.glob("csrc/**/*.[ch]"), *PACKAGE.rglob("*.py")]:
        lines = path.read_text().count("\n")
        assert lines <= 800, f"{path.name} has {lines} lines: two rooms in one"
