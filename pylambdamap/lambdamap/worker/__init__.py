"""The worker, which runs inside the function: `wrap`, and the handlers of `lambdamap.worker.entry`."""

from lambdamap.worker.entry import handler, wrap

__all__ = ["handler", "wrap"]
