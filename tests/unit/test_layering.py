"""Who may include and import whom: a file knows its own layer and the ones below, nothing else."""

from __future__ import annotations

import ast
import functools
import os
import re
import subprocess
import sys
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
    "pthread.h": {"os/threads.h"},
    "sys/socket.h": {"os/stream.c"},
    **{
        header: {f"os/{path.name}" for path in (CORE / "os").glob("*.c")}
        for header in ("dirent.h", "poll.h", "sched.h", "signal.h", "sys/", "unistd.h")
    },
}
# The names of libraries that only os/ may use, and what else may.
FOREIGN = re.compile(r"(curl|pthread|SSL|X509|EVP|HMAC|SHA\d+|OPENSSL|CRYPTO|OSSL)_\w+")
EXCEPT = {"transport/sigv4": re.compile(r"(EVP|OPENSSL|CRYPTO)_\w+")}  # digests
# What tests see of the allocator.
FOR_TESTS = {"lm_alloc_count", "lm_alloc_fail_from", "lm_alloc_live"}
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


@functools.cache
def symbols() -> dict[str, tuple[set[str], set[str]]]:
    """What each source of the core defines for others, and what it takes from them."""
    subprocess.run(
        ["make", "-s", "-C", str(ROOT / "tests/c"), "build/asan/core.a"], check=True, timeout=600
    )
    found = {}
    for source in CORE.rglob("*.c"):
        unit = source.relative_to(CORE).with_suffix("").as_posix()
        made = ROOT / "tests/c/build/asan" / f"{unit}.o"
        done = subprocess.run(["nm", "-P", made], check=True, capture_output=True, text=True)
        lines = [line.split() for line in done.stdout.splitlines()]
        defined = {name for name, kind, *_ in lines if kind.isupper() and kind != "U"}
        found[unit] = (defined, {name.partition("@")[0] for name, kind, *_ in lines if kind == "U"})
    return found


def needs() -> dict[str, set[str]]:
    """A header and its source are one; whom each needs, by its includes and by its symbols."""
    found: dict[str, set[str]] = {}
    for path in C_FILES:
        unit = path.relative_to(CORE).with_suffix("").as_posix()
        inside = {h.removesuffix(".h") for h in includes(path) if (CORE / h).exists()}
        found.setdefault(unit, set()).update(inside)
    owner = {name: unit for unit, (defined, _) in symbols().items() for name in defined}
    for unit, (_, undefined) in symbols().items():
        found[unit] |= {owner[name] for name in undefined if name in owner}
    return {unit: others - {unit} for unit, others in found.items()}


def test_no_files_of_the_core_need_each_other() -> None:
    left = needs()
    assert {"os/stream", "dispatch/map"} <= set(left)
    assert "sched/sched" in left["dispatch/map"]  # by its calls
    while True:
        needed = set().union(*left.values())
        inner = {unit: others & set(left) for unit, others in left.items() if unit in needed}
        inner = {unit: others for unit, others in inner.items() if others}
        if inner == left:
            break
        left = inner
    assert not left, "these need each other in a circle"


def test_symbols_keep_to_the_floors() -> None:
    for unit, others in needs().items():
        mine = unit.partition("/")[0]
        for other in others:
            folder = other.partition("/")[0]
            assert folder == mine or FLOOR[folder] < FLOOR[mine], f"{unit} needs {other}"


def test_only_os_knows_the_system_libraries() -> None:
    seen = set()
    for unit, (_, undefined) in symbols().items():
        foreign = {name for name in undefined if FOREIGN.fullmatch(name)}
        seen |= {name.partition("_")[0] for name in foreign}
        if unit in EXCEPT:
            foreign = {name for name in foreign if not EXCEPT[unit].fullmatch(name)}
        assert not foreign or unit.startswith("os/"), f"{unit}: {foreign}"
    assert {"curl", "pthread", "SSL", "X509", "EVP"} <= seen


def test_no_function_of_the_core_is_for_tests_alone(tmp_path: Path) -> None:
    """What neither extension reaches from its init function is thrown away by the linker."""
    subprocess.run(
        [
            sys.executable,
            "setup.py",
            "-q",
            "build_ext",
            "--build-lib",
            str(tmp_path / "lib"),
            "--build-temp",
            str(tmp_path / "temp"),
        ],
        cwd=ROOT,
        env={
            **os.environ,
            "CFLAGS": "-O0 -g0 -ffunction-sections",
            "LDFLAGS": "-Wl,--gc-sections",
        },
        check=True,
        capture_output=True,
        timeout=600,
    )
    reached: set[str] = set()
    built = list((tmp_path / "lib").rglob("*.so"))
    for extension in built:
        done = subprocess.run(["nm", "-P", extension], check=True, capture_output=True, text=True)
        reached |= {line.split()[0] for line in done.stdout.splitlines()}
    assert len(built) == 2 and {"lm_map_open", "lm_frame_join"} <= reached
    defined = set().union(*(names for names, _ in symbols().values()))
    idle = {name for name in defined if name.startswith("lm_")} - reached
    assert idle <= FOR_TESTS


def test_comments_name_what_exists() -> None:
    code, said = set(), set()
    for path in (ROOT / "csrc").rglob("*.[ch]"):
        text = path.read_text()
        comments = re.findall(r"/\*.*?\*/", text, re.DOTALL)
        said |= set(re.findall(r"\b(?:lm|lmpy)_\w+\b", " ".join(comments)))
        code |= set(re.findall(r"\w+", re.sub(r"/\*.*?\*/", " ", text, flags=re.DOTALL)))
    assert "lm_sched_exchange" in said
    assert said <= code


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
