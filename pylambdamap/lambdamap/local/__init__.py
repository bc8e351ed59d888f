"""The local Lambda: `LocalLambda`, and the one that belongs to the process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lambdamap.local.server import LocalLambda, shared

__all__ = ["LocalLambda", "shared"]


def __getattr__(name: str) -> Any:
    # Sandboxes import this package, too, and must start without the modules of the server.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from lambdamap.local import server

    return getattr(server, name)
