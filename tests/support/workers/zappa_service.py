"""The example's Flask application behind zappa, with routes that fail deliberately."""

from __future__ import annotations

import os
import sys
from typing import Any

from app import app  # examples/flask_app
from df_utils import feature_calculation
from flask import request

import lambdamap

app.config["LAMBDAMAP_CHUNKSIZE"] = 1


def swallow(error: Exception, event: Any, context: Any) -> bool:
    """A project's exception handler that treats every error as handled."""
    return True


def note(text: str) -> None:
    """Write a line to a file, so that a test can count runs."""
    with open(os.environ["ZAPPA_RUNS"], "a") as file:
        file.write(f"{text}\n")


def type_error(item: int) -> int:
    note(f"type_error {item}")
    return item + "1"  # type: ignore[operator]


def leave(item: int) -> None:
    note(f"leave {item}")
    sys.exit(3)


def big(megabytes: int) -> str:
    return "x" * (megabytes * 1_000_000)


def trace(_: int) -> tuple[str, str]:
    return os.environ.get("_X_AMZN_TRACE_ID", ""), os.environ["AWS_LAMBDA_FUNCTION_NAME"]


def nap(seconds: float) -> float:
    import time

    time.sleep(seconds)
    return seconds


FUNCTIONS = {f.__name__: f for f in (type_error, leave, big, trace, nap)}


@app.get("/map/<name>")
def map_by_name(name: str) -> Any:
    """Map items from the query; return the results, or what is known about the error, as JSON."""
    items = [float(text) if "." in text else int(text) for text in request.args["items"].split(",")]
    try:
        results = list(lambdamap.map(FUNCTIONS[name], items))
    except Exception as error:
        known = lambdamap.failure(error)
        partial = {} if known is None else known.partial
        return {"type": type(error).__name__, "says": str(error), "partial": partial}
    return {"results": [len(r) if isinstance(r, str) and len(r) > 1000 else r for r in results]}


@app.put("/classic")
def classic() -> Any:
    """Send one task message per chunk, like an application from before this library."""
    from lambdamap import decode_payload, encode_payload, function_in_lambda, partition

    chunks = [encode_payload(chunk) for chunk in partition(request.get_json(), 2)]
    replies = [
        lambdamap.send_to_other_lambda(function_in_lambda, chunk, feature_calculation, False)
        for chunk in chunks
    ]
    return [row for reply in replies for row in decode_payload(reply)]


@app.get("/classic/<name>")
def classic_by_name(name: str) -> Any:
    """Send one task message; return its result, or what is known about the error."""
    try:
        return {"result": lambdamap.send_to_other_lambda(FUNCTIONS[name], 1)}
    except Exception as error:
        return {
            "type": type(error).__name__,
            "says": str(error),
            "known": repr(lambdamap.failure(error)),
        }
