"""Who owns a module: the deployed project, an installed distribution, or Python.

Decided by the RECORD files that installers write beside the module. Nothing is imported.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import sys
from collections.abc import Iterator
from importlib.machinery import PathFinder
from typing import Any

__all__ = ["is_stripped", "owner_of"]

_STANDARD = os.path.dirname(os.path.realpath(os.__file__))
_INSTALLED = ("site-packages", "dist-packages")
_RUNTIME = ("/var/lang/", "/var/runtime/")  # AWS's, beside the function's own folders
_UNKNOWN = "an unknown owner"


def owner_of(module: str) -> str | None:
    """Return who owns a module, in words that complete "it belongs to".

    Parameters
    ----------
    module
        Its dotted name. Neither it nor its parent packages are imported.

    Returns
    -------
    str or None
        None for the deployed project, and if there is no such module.
    """
    if module.partition(".")[0] in sys.stdlib_module_names:
        return "the standard library"
    loaded = sys.modules.get(module)
    spec = _find(module) if loaded is None else getattr(loaded, "__spec__", None)
    if spec is None:
        return None if loaded is None else _UNKNOWN
    if spec.origin in ("built-in", "frozen"):
        return "the standard library"
    return _owner(module, *_places(spec))


@functools.lru_cache(maxsize=256)
def _owner(module: str, *places: str) -> str | None:
    parts = module.split(".")
    for root in places:
        for _ in parts:
            root = os.path.dirname(root)
        if _STANDARD in (root, os.path.dirname(root)) and os.path.basename(root) not in _INSTALLED:
            return "the standard library"
        if root.startswith(_RUNTIME):
            return "Lambda's runtime"
        if (owner := _owner_below(root, parts)) is not None:
            return owner
    return None


def _find(module: str) -> Any:
    """Return the spec of a module that is not loaded."""
    parts = module.split(".")
    try:
        # PathFinder first: setuptools' hook for distutils issues a warning when it is only asked.
        spec = PathFinder.find_spec(parts[0]) or importlib.util.find_spec(parts[0])
        for n in range(2, len(parts) + 1):
            if spec is None or spec.submodule_search_locations is None:
                return None
            where = list(spec.submodule_search_locations)
            spec = PathFinder.find_spec(".".join(parts[:n]), where)
    except (ImportError, ValueError, AttributeError):
        return None
    return spec


def _places(spec: Any) -> list[str]:
    """Return a module's real paths; its import root is one parent up per part of its name."""
    if spec.submodule_search_locations is not None:
        return [os.path.realpath(place) for place in spec.submodule_search_locations]
    return [os.path.realpath(spec.origin)] if spec.origin else []


def _owner_below(root: str, parts: list[str]) -> str | None:
    """Return the distribution whose files include the module, or a package that contains it."""
    paths = ["/".join(parts[:n]) for n in range(1, len(parts) + 1)]
    wanted = [f"\n{path}{end}".encode() for path in paths for end in (".", "/__init__.")]
    try:
        for name, record in _records(root):
            if record is None:
                return f"a distribution without a RECORD, {name}"
            if any(line in record for line in wanted):
                return f"the installed distribution {name}"
    except OSError:
        return _UNKNOWN  # a zip file, or an unreadable folder
    return None


def _records(root: str, only: str = "") -> Iterator[tuple[str, bytes | None]]:
    """Yield the distributions installed in a folder with their RECORD, or None if they have none.

    A newline is added at the start of each RECORD. only: the name of the one distribution wanted.
    """
    for entry in os.listdir(root):
        name, kind = os.path.splitext(entry)
        name = name.partition("-")[0]
        if only and name != only:
            continue
        if kind == ".dist-info":
            try:
                with open(os.path.join(root, entry, "RECORD"), "rb") as file:
                    yield name, b"\n" + file.read()
            except FileNotFoundError:
                yield name, None
        elif kind == ".egg-info" and os.path.basename(root) in _INSTALLED:
            yield name, None


@functools.cache
def is_stripped() -> bool:
    """Return whether the deployed packages lack their metadata, judging by lambdamap's own."""
    here = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
    listed = any(
        record is not None and b"\nlambdamap/__init__." in record
        for _, record in _records(here, "lambdamap")
    )
    return not (listed or _is_a_checkout(here))


def _is_a_checkout(here: str) -> bool:
    """Return whether lambdamap is imported from its source folder, an editable installation."""
    if os.path.isdir(os.path.join(here, "lambdamap.egg-info")):
        return True
    for folder in sys.path:
        try:
            for entry in os.listdir(folder):
                if entry.startswith("lambdamap-") and entry.endswith(".dist-info"):
                    path = os.path.join(folder, entry, "direct_url.json")
                    with open(path, encoding="utf-8") as file:
                        return '"editable": true' in file.read()
        except OSError:
            continue
    return False
