"""map() on AWS Lambda, or on a local Lambda: one changed line.

>>> import lambdamap
>>> with lambdamap.configure(backend="inline"):
...     lambdamap.my_map(abs, [-1, 2, -3], chunksize=2)
[1, 2, 3]

Importing starts no thread, opens no socket and loads no libcurl. Names are loaded on first use.
"""

from __future__ import annotations

from lambdamap._version import __version__

# Not imported from typing, which takes longer to load than the rest. Type checkers know this name.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from lambdamap.calls.aio import AsyncResults, amap, amap_unordered
    from lambdamap.calls.api import invoke_map, map_unordered, starmap
    from lambdamap.calls.api import map as map  # noqa: A004
    from lambdamap.calls.classic import (
        decode_payload,
        distribute_to_lambda,
        encode_payload,
        feature_calculation_on_chunks,
        function_in_lambda,
        my_map,
        partition,
        run_lambda,
        send_to_other_lambda,
    )
    from lambdamap.calls.estimate import Estimate, estimate
    from lambdamap.calls.executor import LambdaExecutor
    from lambdamap.calls.results import Results
    from lambdamap.errors import (
        AccessDeniedError,
        ConfigError,
        ConnectError,
        ConnectionLostError,
        DeadlineError,
        DecodeError,
        EncodeError,
        Failure,
        FunctionNotFoundError,
        InterruptedJobError,
        LambdaMapError,
        PayloadTooLargeError,
        ProtocolError,
        RemoteError,
        ServiceError,
        StaleCodeWarning,
        ThrottledError,
        TransportError,
        WorkerCrashedError,
        WorkerError,
        WorkerInitError,
        WorkerTimeoutError,
        failure,
    )
    from lambdamap.flight.stats import Stats, last_stats
    from lambdamap.flight.timeline import Timeline
    from lambdamap.integrations.pandas import GroupResults, groupby_apply
    from lambdamap.options import Options, configure

_PLACES = {
    "calls.aio": ("AsyncResults", "amap", "amap_unordered"),
    "calls.api": ("invoke_map", "map", "map_unordered", "starmap"),
    "calls.classic": (
        "decode_payload",
        "distribute_to_lambda",
        "encode_payload",
        "feature_calculation_on_chunks",
        "function_in_lambda",
        "my_map",
        "partition",
        "run_lambda",
        "send_to_other_lambda",
    ),
    "calls.estimate": ("Estimate", "estimate"),
    "calls.executor": ("LambdaExecutor",),
    "errors": (
        "AccessDeniedError",
        "ConfigError",
        "ConnectError",
        "ConnectionLostError",
        "DeadlineError",
        "DecodeError",
        "EncodeError",
        "Failure",
        "FunctionNotFoundError",
        "InterruptedJobError",
        "LambdaMapError",
        "PayloadTooLargeError",
        "ProtocolError",
        "RemoteError",
        "ServiceError",
        "StaleCodeWarning",
        "ThrottledError",
        "TransportError",
        "WorkerCrashedError",
        "WorkerError",
        "WorkerInitError",
        "WorkerTimeoutError",
        "failure",
    ),
    "integrations.pandas": ("GroupResults", "groupby_apply"),
    "options": ("Options", "configure"),
    "calls.results": ("Results",),
    "flight.stats": ("Stats", "last_stats"),
    "flight.timeline": ("Timeline",),
}
_MODULES = {name: module for module, names in _PLACES.items() for name in names}

# `map` is not among them: it would hide the builtin after a star import.
__all__ = [
    "AccessDeniedError",
    "AsyncResults",
    "ConfigError",
    "ConnectError",
    "ConnectionLostError",
    "DeadlineError",
    "DecodeError",
    "EncodeError",
    "Estimate",
    "Failure",
    "FunctionNotFoundError",
    "GroupResults",
    "InterruptedJobError",
    "LambdaExecutor",
    "LambdaMapError",
    "Options",
    "PayloadTooLargeError",
    "ProtocolError",
    "RemoteError",
    "Results",
    "ServiceError",
    "StaleCodeWarning",
    "Stats",
    "ThrottledError",
    "Timeline",
    "TransportError",
    "WorkerCrashedError",
    "WorkerError",
    "WorkerInitError",
    "WorkerTimeoutError",
    "__version__",
    "amap",
    "amap_unordered",
    "configure",
    "decode_payload",
    "distribute_to_lambda",
    "encode_payload",
    "estimate",
    "failure",
    "feature_calculation_on_chunks",
    "function_in_lambda",
    "groupby_apply",
    "invoke_map",
    "last_stats",
    "map_unordered",
    "my_map",
    "partition",
    "run_lambda",
    "send_to_other_lambda",
    "starmap",
]


def __getattr__(name: str) -> Any:
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib  # imports warnings

    try:
        value = getattr(importlib.import_module(f"{__name__}.{module}"), name)
    except ImportError as error:
        if "subinterpreters" not in str(error):
            raise
        raise ImportError(
            "lambdamap does not support interpreters with their own GIL, since CPython's hashlib, ssl "
            "and datetime do not: use a thread, a process, or an interpreter that shares the GIL"
        ) from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
