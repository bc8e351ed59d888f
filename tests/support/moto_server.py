"""A moto server: an AWS account on this machine for boto3, without Docker."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from socket import create_server

HANG_S = 60
# Moto's check of signatures refuses botocore's own for a GET; its check of policies works.
_PROGRAM = """
import sys
from moto.iam import access_control
access_control.IAMRequestBase.check_signature = lambda self: None
from moto.server import main
main(sys.argv[1:])
"""


@contextmanager
def running_moto(**environment: str) -> Iterator[dict[str, str]]:
    """Run one on a port of its own; the variables that lead boto3 there.

    With INITIAL_NO_AUTH_ACTION_COUNT keys must exist and policies count after so many calls.
    """
    with create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, "-H", "127.0.0.1", "-p", str(port)],
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            _wait(url, process)
            yield {
                "AWS_ENDPOINT_URL": url,
                "AWS_ACCESS_KEY_ID": "testing",
                "AWS_SECRET_ACCESS_KEY": "testing",
                "AWS_DEFAULT_REGION": "eu-central-1",
                "AWS_REGION": "eu-central-1",
            }
        finally:
            process.terminate()


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    ends = time.monotonic() + HANG_S
    while True:
        try:
            urllib.request.urlopen(f"{url}/moto-api/", timeout=HANG_S).close()
            return
        except urllib.error.URLError:
            if process.poll() is not None or time.monotonic() > ends:
                raise
            time.sleep(0.05)
