"""Where chunks run: AWS, the Lambda on this machine, this process, or an Executor."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING

from lambdamap.errors import ConfigError

if TYPE_CHECKING:
    from lambdamap.options import Options

__all__ = ["choose", "own_function", "remote_depth"]

_log = logging.getLogger("lambdamap")
_said = False


def own_function() -> str | None:
    """Inside Lambda: this function's name and running version; None elsewhere, also on the local
    Lambda, whose name no account knows.

    Raises
    ------
    ConfigError
        This function's handler would not do lambdamap's work.
    """
    name = os.environ.get("AWS_LAMBDA_FUNCTION_NAME")
    if not name or "LAMBDAMAP_SANDBOX" in os.environ:
        return None  # not in Lambda; a sandbox of the local one only looks like it
    if not _handler_is_ours():
        raise ConfigError(
            f"this code runs in the Lambda function {name}, whose handler does not know lambdamap: "
            f"write `{_handler_name()} = lambdamap.worker.wrap({_handler_name()})` behind it, or name "
            "the function to use with lambdamap.configure(function=...)"
        )
    return f"{name}:{os.environ.get('AWS_LAMBDA_FUNCTION_VERSION', '$LATEST')}"


def _handler_name() -> str:
    name = os.environ.get("_HANDLER", "").rpartition(".")[2]
    return name if name.isidentifier() else "handler"


def _handler_is_ours() -> bool:
    path = os.environ.get("_HANDLER", "")
    module, _, name = path.replace("/", ".").rpartition(".")
    if module in ("lambdamap.worker.entry", "lambdamap.worker", "zappa.handler"):
        return True
    loaded = sys.modules.get(module)
    if module == "handler" and hasattr(loaded, "LambdaHandler") and "zappa" in sys.modules:
        return True  # zappa copies its handler to the root of the package
    return bool(getattr(getattr(loaded, name, None), "__lambdamap__", False))


def remote_depth(options: Options) -> int:
    """Levels of maps inside f that may run remotely, for a map that is started here; -1: this one
    may not itself. A map inside f has what its caller left, whatever its own options say."""
    call = sys.modules.get("lambdamap.worker.call")
    left = call.depth_left.get() if call is not None else None
    return options.depth if left is None else left - 1


def choose(options: Options) -> str:
    """The backend's name: "aws", "local", "inline" or "executor".

    Raises
    ------
    ConfigError
        "aws" without a function.
    """
    global _said
    if not isinstance(options.backend, str):
        return "executor"
    if remote_depth(options) < 0:
        return "inline"
    if options.backend in ("local", "inline"):
        return options.backend
    if options.function is not None or own_function() is not None:
        return "aws"
    if options.backend == "aws":
        raise ConfigError(
            "backend='aws' needs a function: pass function=, or set LAMBDAMAP_FUNCTION to its name"
        )
    if not _said:
        _said = True
        _log.warning(
            "no Lambda function is configured: using a Lambda on this machine. Set "
            "LAMBDAMAP_FUNCTION to run on AWS, or backend='local' to say that this is meant"
        )
    return "local"
