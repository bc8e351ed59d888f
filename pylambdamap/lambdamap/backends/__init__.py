"""Where chunks run: AWS, the local Lambda, this process, or an Executor."""

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
    """Return the name and version of the Lambda function that this code runs in.

    None outside Lambda, and on the local Lambda, whose name exists in no account.

    Raises
    ------
    ConfigError
        The function's handler does not serve lambdamap's requests.
    """
    name = os.environ.get("AWS_LAMBDA_FUNCTION_NAME")
    if not name or "LAMBDAMAP_SANDBOX" in os.environ:
        return None
    if not _handler_is_ours():
        raise ConfigError(
            f"this code runs in the Lambda function {name}, whose handler does not serve lambdamap: "
            f"add `{_handler_name()} = lambdamap.worker.wrap({_handler_name()})` after it, or name "
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
    """Return how many levels of nested maps a map started here may run remotely.

    -1: the map itself may not, either. Inside f the caller's limit applies, regardless of the options.
    """
    # Loaded if there is an invocation; lacks `depth_left` while another thread is loading it.
    known = getattr(sys.modules.get("lambdamap.worker.call"), "depth_left", None)
    left = None if known is None else known.get()
    return options.depth if left is None else left - 1


def choose(options: Options) -> str:
    """Return the name of the backend: "aws", "local", "inline" or "executor".

    Raises
    ------
    ConfigError
        The backend is "aws", and no function is configured.
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
            "no Lambda function is configured, so maps run on a local Lambda: set "
            "LAMBDAMAP_FUNCTION to run on AWS, or backend='local' to avoid this warning"
        )
    return "local"
