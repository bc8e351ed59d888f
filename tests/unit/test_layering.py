"""Who may include and import whom: a file knows its own layer and the ones below, nothing else."""

from __future__ import annotations

import ast
import functools
import graphlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE = ROOT / "csrc" / "core"
BINDING = ROOT / "csrc" / "python"
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
    "nghttp2/": {"http/http2.c", "http/http2_memory.c", "http/http2_memory.h"},
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


# What a file defines for others, and what it takes from them.
Symbols = tuple[set[str], set[str]]


def symbols_of(made: Path) -> Symbols:
    done = subprocess.run(["nm", "-P", made], check=True, capture_output=True, text=True)
    lines = [line.split() for line in done.stdout.splitlines()]
    defined = {name for name, kind, *_ in lines if kind.isupper() and kind != "U"}
    return defined, {name.partition("@")[0] for name, kind, *_ in lines if kind == "U"}


@functools.cache
def symbols() -> dict[str, Symbols]:
    """By each source of the core."""
    subprocess.run(
        ["make", "-s", "-C", str(ROOT / "tests/c"), "build/asan/core.a"], check=True, timeout=600
    )
    found = {}
    for source in CORE.rglob("*.c"):
        unit = source.relative_to(CORE).with_suffix("").as_posix()
        found[unit] = symbols_of(ROOT / "tests/c/build/asan" / f"{unit}.o")
    return found


def needs_of(folder: Path, objects: dict[str, Symbols]) -> dict[str, set[str]]:
    """A header and its source are one; whom each needs, by its includes and by its symbols."""
    found: dict[str, set[str]] = {}
    for path in folder.rglob("*.[ch]"):
        unit = path.relative_to(folder).with_suffix("").as_posix()
        inside = {h.removesuffix(".h") for h in includes(path) if (folder / h).exists()}
        found.setdefault(unit, set()).update(inside)
    owner = {name: unit for unit, (defined, _) in objects.items() for name in defined}
    for unit, (_, undefined) in objects.items():
        found[unit] |= {owner[name] for name in undefined if name in owner}
    return {unit: others - {unit} for unit, others in found.items()}


def needs() -> dict[str, set[str]]:
    return needs_of(CORE, symbols())


def test_no_files_of_the_core_need_each_other() -> None:
    needed = needs()
    assert {"os/stream", "dispatch/map"} <= set(needed)
    assert "sched/sched" in needed["dispatch/map"]  # by its calls
    graphlib.TopologicalSorter(needed).prepare()  # a circle raises CycleError, which names it


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


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both extensions in lib/, what they are made of in temp/; no function is inlined away."""
    folder = tmp_path_factory.mktemp("built")
    subprocess.run(
        [
            sys.executable,
            "setup.py",
            "-q",
            "build_ext",
            "--build-lib",
            str(folder / "lib"),
            "--build-temp",
            str(folder / "temp"),
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
    return folder


def test_no_function_of_the_core_is_for_tests_alone(built: Path) -> None:
    """What neither extension reaches from its init function is thrown away by the linker."""
    reached: set[str] = set()
    extensions = list((built / "lib").rglob("*.so"))
    for extension in extensions:
        done = subprocess.run(["nm", "-P", extension], check=True, capture_output=True, text=True)
        reached |= {line.split()[0] for line in done.stdout.splitlines()}
    assert len(extensions) == 2 and {"lm_map_open", "lm_frame_join"} <= reached
    defined = set().union(*(names for names, _ in symbols().values()))
    idle = {name for name in defined if name.startswith("lm_")} - reached
    assert idle <= FOR_TESTS


# A value holds lists, which are columns; a column holds rows; and a row holds columns and values. The
# only files that may need each other, in each direction.
RECURSION = ("value", "columns", "rows")


def test_the_binding_has_two_recursions_and_no_circle(built: Path) -> None:
    """The two directions of the codec do not know each other either."""
    objects = {
        path.relative_to(BINDING).with_suffix("").as_posix(): symbols_of(
            built / "temp/csrc/python" / path.relative_to(BINDING).with_suffix(".o")
        )
        for path in BINDING.rglob("*.c")
    }
    needed = needs_of(BINDING, objects)
    one = {
        f"codec/{way}/{name}": f"codec/{way}" for way in ("encode", "decode") for name in RECURSION
    }
    assert one.keys() <= needed.keys()
    together: dict[str, set[str]] = {}
    for unit, others in needed.items():
        for way, other in (("encode", "decode"), ("decode", "encode")):
            if unit.startswith(f"codec/{way}/"):
                assert not {name for name in others if name.startswith(f"codec/{other}/")}, unit
        me = one.get(unit, unit)
        together.setdefault(me, set()).update({one.get(name, name) for name in others} - {me})
    graphlib.TopologicalSorter(together).prepare()  # a circle raises CycleError, which names it


def test_comments_name_what_exists() -> None:
    code, said = set(), set()
    for path in (ROOT / "csrc").rglob("*.[ch]"):
        text = path.read_text()
        comments = re.findall(r"/\*.*?\*/", text, re.DOTALL)
        said |= set(re.findall(r"\b(?:lm|lmpy)_\w+\b", " ".join(comments)))
        code |= set(re.findall(r"\w+", re.sub(r"/\*.*?\*/", " ", text, flags=re.DOTALL)))
    assert "lm_sched_exchange" in said
    assert said <= code


# Where static functions are named after the extension, or after what the file's public names have.
PREFIXES = {"codec/module": "codec", "net/module": "net", "dispatch/io_thread": "io"}
STATIC = re.compile(r"\bstatic\b[^;={}()]*?\b(\w[\w#]*)\s*\(")


def test_static_functions_are_named_after_their_file() -> None:
    """A profile or a backtrace shows where they are; macros that define some are looked at too."""
    seen = set()
    for folder in (CORE, BINDING):
        for path in folder.rglob("*.[ch]"):
            unit = path.relative_to(folder).with_suffix("").as_posix()
            way, _, stem = unit.removeprefix("codec/").rpartition("/")
            prefix = PREFIXES.get(unit, f"{way}_{stem}" if way in ("encode", "decode") else stem)
            allowed = (f"{prefix}_", "lm_", "lmpy_") if path.suffix == ".h" else (f"{prefix}_",)
            code = re.sub(r"/\*.*?\*/", " ", path.read_text(), flags=re.DOTALL)
            for name in STATIC.findall(code):
                assert name.startswith(allowed), f"{unit}{path.suffix}: {name}"
                seen.add(name)
    assert {"base64_encode_three", "encode_value_int", "io_run", "completion_##name"} <= seen


def test_python_h_is_in_one_header() -> None:
    users = [p.name for p in BINDING.rglob("*.[ch]") if "Python.h" in includes(p)]
    assert users == ["lmpy.h"]


def test_every_core_header_says_what_it_is() -> None:
    for path in CORE.rglob("*.h"):
        assert path.read_text().startswith("/* "), path.name


# What each folder or module of the package may import of lambdamap, itself apart: those before it,
# and only these of them.
EXTENSIONS = {"_codec", "_net"}
ROLES: dict[str, set[str]] = {
    "_version": set(),
    "_process": set(),
    "errors": set(),
    "shipping": {"_codec", "_version", "errors"},
    "worker": {"_codec", "_process", "_version", "shipping"},
    "local": {"_process"},
    "model": {"_codec"},
    "ambient": {"errors", "worker"},
    "_checks": {"errors"},
    "_variables": {"_checks", "errors"},
    "options": {"_checks", "_variables", "ambient", "errors"},
    "backends": {"_checks", "_net", "_version", "errors", "local", "options", "shipping", "worker"},
    "flight": {
        "_codec", "_net", "_version", "ambient", "backends", "errors", "model", "options", "shipping", "worker",
    },
    "calls": {
        "_codec", "ambient", "backends", "errors", "flight", "model", "options", "shipping", "worker",
    },
    "deploy": {"_version", "errors"},
    "cli": {
        "_codec", "_net", "_version", "backends", "calls", "deploy", "errors", "flight", "local",
        "options", "shipping", "worker",
    },
    "integrations": {
        "_variables", "ambient", "calls", "cli", "errors", "flight", "local", "options", "worker",
    },
    "__init__": {"_version", "calls", "errors", "flight", "integrations", "options"},
    "__main__": {"cli"},
}  # fmt: skip


def modules() -> dict[str, Path]:
    """By name without `lambdamap.`; a package's is that of its folder."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = path
    return found


def imports(path: Path) -> set[str]:
    """The modules of lambdamap that a file imports, at any time and for type checkers too."""
    known = modules().keys() | EXTENSIONS
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path.name}: imports are absolute"
            if node.module == "lambdamap" or (node.module or "").startswith("lambdamap."):
                base = (node.module or "").removeprefix("lambdamap").removeprefix(".")
                for alias in node.names:
                    inner = f"{base}.{alias.name}".removeprefix(".")
                    found.add(inner if inner in known else base or "__init__")
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name == "lambdamap" or alias.name.startswith("lambdamap."):
                    found.add(alias.name.removeprefix("lambdamap").removeprefix(".") or "__init__")
    return found


@pytest.mark.parametrize("name", modules())
def test_the_package_keeps_to_its_roles(name: str) -> None:
    role = name.partition(".")[0]
    before = list(ROLES)[: list(ROLES).index(role)]
    assert ROLES[role] <= set(before) | EXTENSIONS
    used = {module.partition(".")[0] for module in imports(modules()[name])}
    assert used <= ROLES[role] | {role}


def test_no_modules_of_the_package_need_each_other() -> None:
    needed = {name: imports(path) - {name} for name, path in modules().items()}
    assert "flight.engine" in needed["flight.open"]
    graphlib.TopologicalSorter(needed).prepare()


def test_no_role_is_allowed_what_it_does_not_need() -> None:
    for role, allowed in ROLES.items():
        mine = [path for name, path in modules().items() if name.partition(".")[0] == role]
        used = {module.partition(".")[0] for path in mine for module in imports(path)}
        assert allowed <= used, role


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
