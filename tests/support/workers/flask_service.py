"""A Flask application for gunicorn: maps that take long, and maps that are abandoned."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

from flask import Flask, Response, jsonify, request, stream_with_context

import lambdamap
import tasks
from lambdamap.integrations.flask import LambdaMap

app = Flask(__name__)
app.config["LAMBDAMAP_BACKEND"] = "local"
app.config["LAMBDAMAP_CHUNKSIZE"] = "1"
app.config.from_prefixed_env()  # FLASK_LAMBDAMAP_REQUEST_TIMEOUT
LambdaMap(app)

left: list[Any] = []  # keeps maps alive after their request


def native() -> dict[str, int]:
    from lambdamap import _net

    return _net.debug_state()


@app.get("/sleep")
def sleep() -> Any:
    seconds = [float(text) for text in request.args["seconds"].split(",")]
    try:
        return {"results": lambdamap.my_map(tasks.sleep, seconds, 1), "pid": os.getpid()}
    except lambdamap.DeadlineError as error:
        answer = {"partial": error.partial, "ran": error.ran, "says": str(error)}
        return jsonify(**answer, pid=os.getpid()), 504


@app.get("/timeout/<float:seconds>")
def timeout(seconds: float) -> Any:
    app.config["LAMBDAMAP_REQUEST_TIMEOUT"] = seconds
    return "ok"


@app.get("/leave")
def leave() -> Any:
    results = lambdamap.map(tasks.sleep, [0.0, 60.0])
    left.append(results)
    return str(next(results))


@app.get("/left")
def state() -> Any:
    """Wait for what the last request left running; return what is still there."""
    ends = time.monotonic() + 10
    while native()["in_flight"] and time.monotonic() < ends:
        time.sleep(0.01)
    return {"in_flight": native()["in_flight"], "maps": len(left)}


@app.get("/stream")
def stream() -> Response:
    results = lambdamap.map(tasks.square, range(20))

    def lines() -> Iterator[str]:
        for result in results:
            yield f"{result}\n"

    keep = request.args.get("context") == "1"
    return Response(stream_with_context(lines()) if keep else lines(), mimetype="text/plain")


@app.get("/process")
def process() -> Any:
    return {"pid": os.getpid(), "io_threads": native()["io_threads"]}
