"""A FastAPI application with maps that are awaited, streamed, run in a thread, and abandoned.

It runs under uvicorn, and behind Mangum as a Lambda handler.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from fastapi import BackgroundTasks, FastAPI
from fastapi.responses import JSONResponse, StreamingResponse
from mangum import Mangum

import lambdamap
import tasks
from lambdamap.integrations.asgi import LambdaMapMiddleware
from lambdamap.worker import wrap

app = FastAPI()
app.add_middleware(LambdaMapMiddleware, chunksize=1)
handler = wrap(Mangum(app, lifespan="off"))

ended: list[str] = []  # how the endpoints ended


def native() -> dict[str, int]:
    from lambdamap import _net

    return _net.debug_state()


@app.get("/squares")
async def squares(n: int) -> list[int]:
    return [value async for value in lambdamap.amap(tasks.square, range(n))]


@app.get("/squares-in-a-thread")
def squares_in_a_thread(n: int) -> list[int]:
    return lambdamap.my_map(tasks.square, range(n), 1)


@app.get("/sleep")
async def sleep(seconds: str, timeout: float = 60) -> Any:
    naps = [float(text) for text in seconds.split(",")]
    results: list[float] = []
    try:
        async for value in lambdamap.amap(tasks.sleep, naps, timeout=timeout):
            results.append(value)
        return {"results": results}
    except lambdamap.DeadlineError as error:
        finished = {**dict(enumerate(results)), **error.partial}
        return JSONResponse({"finished": finished, "says": str(error)}, status_code=504)
    except asyncio.CancelledError as error:
        ended.append(f"cancelled: {error}")
        raise
    finally:
        ended.append("/sleep")


@app.get("/sleep-in-a-thread")
def sleep_in_a_thread(seconds: float) -> Any:
    try:
        return lambdamap.my_map(tasks.sleep, [seconds], 1)
    finally:
        ended.append("/sleep-in-a-thread")


@app.get("/stream")
async def stream(seconds: str) -> StreamingResponse:
    naps = [float(text) for text in seconds.split(",")]

    async def lines() -> AsyncIterator[str]:
        try:
            async for value in lambdamap.amap(tasks.sleep, naps):
                yield f"{value}\n"
        finally:
            ended.append("/stream")

    return StreamingResponse(lines(), media_type="text/plain")


@app.post("/echo")
async def echo(body: list[int]) -> list[int]:
    return [value async for value in lambdamap.amap(tasks.identity, body)]


@app.get("/behind")
async def behind(work: BackgroundTasks) -> str:
    async def later() -> None:
        ended.append(str([value async for value in lambdamap.amap(tasks.sleep, [0.3, 0.0])]))

    work.add_task(later)
    return "soon"


@app.get("/state")
async def state() -> Any:
    """Return how endpoints have ended, and what is still running."""
    return {"ended": ended, "in_flight": native()["in_flight"]}
