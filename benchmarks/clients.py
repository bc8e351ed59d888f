"""The clients that are compared: each sends signed invocations of 2 KB until n have answered.

`measure` runs one of them in a fresh process and returns its CPU seconds, wall seconds and peak
memory, the server's share not included.
"""

from __future__ import annotations

import asyncio
import datetime
import hashlib
import hmac
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any

BODY = b'"' + b"y" * 2046 + b'"'
KEYS = {"aws_access_key_id": "AKID", "aws_secret_access_key": "secret"}
PATH = "/2015-03-31/functions/{}/invocations"


def lambdamap(url: str, ca_file: str, function: str, n: int, at_once: int) -> Any:
    """The dispatcher alone, driven from Python: `_net` without codec and engine."""
    from urllib.parse import urlsplit

    from lambdamap import _net

    parts = urlsplit(url)
    target = _net.open_target(
        scheme=parts.scheme, host=parts.hostname or "", port=parts.port or 0,
        path=PATH.format(function), query="", region="us-east-1", access_key="AKID",
        secret_key="secret", token=None, expires_at=None, headers=(), proxy=None,
        ca_file=ca_file if parts.scheme == "https" else None, ca_path=None,
        max_concurrency=at_once, max_attempts=3, max_connect_ms=30_000,
        connect_patience_ms=30_000,
        http_version=None,
    )  # fmt: skip
    flight = _net.open_map(
        target, envelope=None, map_id="0" * 32, compression=False, idempotent=False,
        invocation_timeout_ms=120_000, timeout_ms=-1, max_result_bytes=1 << 20,
        max_reply_bytes=1 << 20,
        notes=False,
        trace=False,
        bound_id="",
    )  # fmt: skip

    def run() -> None:
        sent = done = 0
        while done < n:
            while sent < n and sent - done < 2 * at_once and flight.submit(BODY, sent, 1):
                sent += 1
            flight.wait(60)
            while (completion := flight.take()) is not None:
                assert completion.ok, completion.message
                done += 1

    return run


def boto3(url: str, ca_file: str, function: str, n: int, at_once: int) -> Any:
    """boto3's client in a pool of threads."""
    import boto3 as library
    from botocore.config import Config

    client = library.client(
        "lambda", endpoint_url=url, region_name="us-east-1", verify=ca_file, **KEYS,
        config=Config(max_pool_connections=at_once, read_timeout=120),
    )  # fmt: skip
    pool = ThreadPoolExecutor(at_once)

    def one(_: int) -> None:
        client.invoke(FunctionName=function, Payload=BODY)["Payload"].read()

    def run() -> None:
        list(pool.map(one, range(n)))

    return run


def aiobotocore(url: str, ca_file: str, function: str, n: int, at_once: int) -> Any:
    """aiobotocore's client, so many tasks at a time."""
    import ssl

    from aiobotocore.config import AioConfig
    from aiobotocore.session import get_session

    del ssl

    async def main() -> None:
        config = AioConfig(max_pool_connections=at_once, read_timeout=120)
        session = get_session()
        async with session.create_client(
            "lambda",
            endpoint_url=url,
            region_name="us-east-1",
            verify=ca_file,
            config=config,
            **KEYS,
        ) as client:
            numbers = iter(range(n))

            async def worker() -> None:
                for _ in numbers:
                    reply = await client.invoke(FunctionName=function, Payload=BODY)
                    await reply["Payload"].read()

            await asyncio.gather(*(worker() for _ in range(at_once)))

    return lambda: asyncio.run(main())


class Signer:
    """SigV4 in Python, with the derived key kept: what a user would write for pycurl."""

    def __init__(self, host: str, path: str) -> None:
        self.host, self.path, self.day, self.key = host, path, "", b""

    def headers(self, body: bytes) -> list[str]:
        now = datetime.datetime.now(datetime.timezone.utc)
        stamp = now.strftime("%Y%m%dT%H%M%SZ")
        day = stamp[:8]
        if day != self.day:
            key = b"AWS4secret"
            for part in (day, "us-east-1", "lambda", "aws4_request"):
                key = hmac.digest(key, part.encode(), "sha256")
            self.day, self.key = day, key
        canonical = (
            f"POST\n{self.path}\n\nhost:{self.host}\nx-amz-date:{stamp}\n\nhost;x-amz-date\n"
            + hashlib.sha256(body).hexdigest()
        )
        scope = f"{day}/us-east-1/lambda/aws4_request"
        hashed = hashlib.sha256(canonical.encode()).hexdigest()
        to_sign = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashed}"
        signature = hmac.digest(self.key, to_sign.encode(), "sha256").hex()
        return [
            f"X-Amz-Date: {stamp}",
            f"Authorization: AWS4-HMAC-SHA256 Credential=AKID/{scope}, "
            f"SignedHeaders=host;x-amz-date, Signature={signature}",
            "Content-Type: application/json",
            "Expect:",
        ]


def pycurl(url: str, ca_file: str, function: str, n: int, at_once: int) -> Any:
    """pycurl's CurlMulti with the signer above."""
    import pycurl as library

    path = PATH.format(function)
    signer = Signer(url.partition("//")[2], path)
    multi = library.CurlMulti()
    handles = []
    for _ in range(at_once):
        handle = library.Curl()
        handle.setopt(library.URL, url + path)
        handle.setopt(library.POST, 1)
        handle.setopt(library.POSTFIELDS, BODY)
        handle.setopt(library.CAINFO, ca_file)
        handle.setopt(library.NOSIGNAL, 1)
        handles.append(handle)

    def run() -> None:
        left, done, idle = n, 0, list(handles)
        while done < n:
            while idle and left:
                handle = idle.pop()
                handle.setopt(library.HTTPHEADER, signer.headers(BODY))
                handle.setopt(library.WRITEDATA, BytesIO())
                multi.add_handle(handle)
                left -= 1
            while multi.perform()[0] == library.E_CALL_MULTI_PERFORM:
                pass
            _, good, bad = multi.info_read()
            assert not bad, bad
            for handle in good:
                multi.remove_handle(handle)
                idle.append(handle)
                done += 1
            if done < n and not (idle and left):
                multi.select(1.0)

    return run


CLIENTS = {
    "lambdamap": lambdamap,
    "boto3": boto3,
    "aiobotocore": aiobotocore,
    "pycurl + Python signer": pycurl,
}


def measure(name: str, *, warm: bool, **job: Any) -> dict[str, float]:
    """Run a client in a process of its own. warm: connections stand before the clock starts."""
    command = [sys.executable, "-W", "ignore", __file__, json.dumps([name, warm, job])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{name}: {done.stderr[-500:]}")
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def wrk(url: str, function: str, seconds: float, at_once: int) -> dict[str, float]:
    """wrk, unsigned: the limit. CPU per request of its one thread."""
    command = ["wrk", "-t1", f"-c{at_once}", f"-d{max(1, int(seconds))}s", "-s", "/dev/stdin"]
    script = 'wrk.method="POST" wrk.body=\'"\' .. ("y"):rep(2046) .. \'"\'\nfunction done(s) io.stderr:write(s.requests) end'
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [*command, url + PATH.format(function)],
        input=script,
        capture_output=True,
        text=True,
        check=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    requests = int(done.stderr.strip().split()[-1])
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return {"cpu_us": cpu / requests * 1e6, "per_s": requests / max(1, int(seconds))}


def h2load(url: str, function: str, n: int, streams: int) -> dict[str, float]:
    """h2load, unsigned, on 8 connections: what HTTP/2 costs. CPU per request of its one thread."""
    command = ["h2load", f"-n{n}", "-c8", f"-m{streams}", "-t1", url + PATH.format(function)]
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    with tempfile.NamedTemporaryFile() as body:
        body.write(BODY)
        body.flush()
        done = subprocess.run([*command, "-d", body.name], capture_output=True, check=True)
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    assert f" {n} succeeded".encode() in done.stdout, done.stdout
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return {"cpu_us": cpu / n * 1e6, "per_s": n / seconds, "seconds": seconds}


def peak_mb() -> float:
    """Peak memory of this process. getrusage's figure would count the parent before exec, too."""
    with open("/proc/self/status") as file:
        peak = next(line for line in file if line.startswith("VmHWM:"))
    return int(peak.split()[1]) / 1024


def _main() -> None:
    name, warm, job = json.loads(sys.argv[1])
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(30_000, limit), limit))
    n = job["n"]
    run = CLIENTS[name](**job)
    if warm:
        run()
    before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    run()
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    figures = {
        "cpu_us": cpu / n * 1e6,
        "per_s": n / seconds,
        "seconds": seconds,
        "rss_mb": peak_mb(),
    }
    sys.stdout.write(json.dumps(figures))
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    _main()
