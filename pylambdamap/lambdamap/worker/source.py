"""Digests of source files, which show whether the worker runs the caller's version."""

from __future__ import annotations

import hashlib
import os
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

from lambdamap.shipping.envelope import Request

__all__ = ["source_digest", "stale_code"]

_digests: dict[tuple[str, int, int], str] = {}  # path, modification time in ns, size -> SHA-256
# Module -> its spec when it was first seen, and the digest of its file at that time.
_first_seen: dict[str, tuple[ModuleSpec | None, str | None]] = {}


def source_digest(path: str) -> str | None:
    """Return the SHA-256 of a source file in hex, or None if it is not a readable ``.py`` file."""
    if not path.endswith(".py"):
        return None
    try:
        facts = os.stat(path)
        key = (path, facts.st_mtime_ns, facts.st_size)
        if key not in _digests:
            with open(path, "rb") as file:
                _digests[key] = hashlib.sha256(file.read()).hexdigest()
    except OSError:
        return None
    return _digests[key]


def stale_code(request: Request) -> dict[str, str] | None:
    """Return the reply's ``code`` field if f's module differs from the caller's, else None."""
    want = request.code
    name = request.function.partition(":")[0]
    module = sys.modules.get(name)
    have = _loaded_digest(module) if want and module is not None else None
    if want is None or have is None or have == want:
        return None
    return {"module": name, "have": have, "want": want}


def _loaded_digest(module: ModuleType) -> str | None:
    """Return the digest of the source that was loaded, even if the file has changed since."""
    spec = getattr(module, "__spec__", None)  # replaced when the module is reloaded
    seen = _first_seen.get(module.__name__)
    if seen is None or seen[0] is not spec:
        path = getattr(module, "__file__", None)
        seen = (spec, source_digest(path) if isinstance(path, str) else None)
        _first_seen[module.__name__] = seen
    return seen[1]
