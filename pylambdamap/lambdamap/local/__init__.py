"""A Lambda on this machine: `LocalLambda`, and the process's own one."""

from lambdamap.local.server import LocalLambda, shared

__all__ = ["LocalLambda", "shared"]
