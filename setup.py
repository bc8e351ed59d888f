"""The two extension modules; everything else is in pyproject.toml."""

from __future__ import annotations

import glob
import os
import shlex
import shutil
import subprocess
import sys

from setuptools import Extension, setup

NEEDED = """
lambdamap needs {what} to be built.
  apt   apt-get install libcurl4-openssl-dev libnghttp2-dev libssl-dev zlib1g-dev {apt_msgpack} pkg-config
  dnf   dnf install libcurl-devel libnghttp2-devel openssl-devel zlib-devel msgpack-devel pkgconf-pkg-config
  apk   apk add curl-dev nghttp2-dev openssl-dev zlib-dev msgpack-c-dev pkgconf
  brew  brew install curl libnghttp2 openssl@3 zlib msgpack pkg-config
"""


class Missing(SystemExit):
    """A library is not there, or too old: one message that names the packages."""

    def __init__(self, what: str) -> None:
        try:
            with open("/etc/os-release") as file:
                codename = file.read()
        except OSError:
            codename = ""
        old = any(name in codename for name in ("bookworm", "bullseye", "jammy", "focal"))
        package = "libmsgpack-dev" if old else "libmsgpack-c-dev"
        super().__init__(NEEDED.format(what=what, apt_msgpack=package))


def pkg_config(*arguments: str) -> str | None:
    """What pkg-config prints, or None when it knows no such package."""
    command = os.environ.get("PKG_CONFIG", "pkg-config")
    if shutil.which(command) is None:
        raise Missing(f"pkg-config ({command} is not on PATH)")
    done = subprocess.run([command, *arguments], capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else None


def library(names: tuple[str, ...], oldest: str) -> list[str]:
    """Compiler and linker flags of the first package that is there and new enough."""
    for name in names:
        if pkg_config("--exists", f"{name} >= {oldest}") is not None:
            return shlex.split(pkg_config("--cflags", "--libs", name) or "")
    for name in names:
        version = pkg_config("--modversion", name)
        if version is not None:
            raise Missing(f"{name} {oldest} or newer (this is {version})")
    raise Missing(f"{names[0]} {oldest} or newer")


def msgpack_headers() -> list[str]:
    """Flags that make <msgpack.h> found: headers alone are used, nothing is linked."""
    return [flag for flag in library(("msgpack-c", "msgpack"), "3.0") if flag.startswith("-I")]


def extension(name: str, sources: list[str], flags: list[str]) -> Extension:
    optional = []
    if os.environ.get("LAMBDAMAP_WERROR") == "1":
        optional.append("-Werror")
    link = []
    if sanitize := os.environ.get("LAMBDAMAP_SANITIZE"):
        optional += [f"-fsanitize={sanitize}", "-fno-omit-frame-pointer", "-g", "-O1"]
        link.append(f"-fsanitize={sanitize}")
    return Extension(
        f"lambdamap.{name}",
        sources=sorted(sources),
        depends=glob.glob("csrc/**/*.h", recursive=True),
        include_dirs=["csrc/core", "csrc/python"],
        define_macros=[("_GNU_SOURCE", "1")],
        extra_compile_args=[
            "-std=c11",
            "-Wall",
            "-Wextra",
            "-Wsign-compare",
            "-Wswitch-enum",
            "-fvisibility=hidden",
            *[flag for flag in flags if not flag.startswith(("-l", "-L", "-Wl"))],
            *optional,
        ],
        extra_link_args=[*[flag for flag in flags if flag.startswith(("-L", "-l", "-Wl"))], *link],
    )


def static_libraries(prefix: str) -> list[str]:
    """Flags that build the libcurl and libnghttp2 under prefix, and the system's OpenSSL, into the
    extension: it then needs the C library alone, and hides theirs from others that are loaded beside it."""
    return [
        f"-I{prefix}/include",
        # By its path: a Python with a shared library has the system's folder searched first.
        f"-Wl,{prefix}/lib/libcurl.a",
        f"-Wl,{prefix}/lib/libnghttp2.a",
        *("-l:libssl.a", "-l:libcrypto.a"),
        *("-lpthread", "-ldl", "-Wl,--exclude-libs,ALL", "-Wl,--strip-all"),
    ]


def core(*folders: str) -> list[str]:
    return [path for folder in folders for path in glob.glob(f"csrc/core/{folder}/*.c")]


NET_ONLY = {"envelope.c", "json.c", "redact.c"}  # of wire/


def extensions() -> list[Extension]:
    only = os.environ.get("LAMBDAMAP_ONLY")
    static = os.environ.get("LAMBDAMAP_STATIC")  # ./dev wheel builds it
    found = []
    zlib = library(("zlib",), "1.2.11")
    if static:
        zlib = ["-l:libz.a", "-Wl,--exclude-libs,ALL", "-Wl,--strip-all"]
        client = static_libraries(static)
    elif only in (None, "net"):
        client = [
            *library(("libcurl",), "7.76"),
            *library(("libnghttp2",), "1.43"),
            *library(("openssl",), "1.1.1"),
        ]
    if only in (None, "codec"):
        wire = [path for path in core("wire") if os.path.basename(path) not in NET_ONLY]
        found.append(
            extension(
                "_codec",
                [
                    *core("base"),
                    *wire,
                    "csrc/core/policy/chunk.c",
                    "csrc/python/errors.c",
                    *glob.glob("csrc/python/codec/**/*.c", recursive=True),
                ],
                [*zlib, *msgpack_headers()],
            )
        )
    if only in (None, "net"):
        found.append(
            extension(
                "_net",
                [
                    *core("*"),
                    "csrc/python/errors.c",
                    *glob.glob("csrc/python/net/*.c"),
                ],
                [
                    *client,
                    *zlib,
                    *msgpack_headers(),
                    "-lpthread",
                ],
            )
        )
    return found


# Making an sdist or reading the metadata needs no library.
BUILDS = {"build", "build_ext", "bdist_wheel", "install", "develop", "editable_wheel"}
setup(ext_modules=extensions() if BUILDS & set(sys.argv) else [])
