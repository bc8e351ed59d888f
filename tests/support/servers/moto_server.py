"""A moto server: a simulated AWS account for boto3, without Docker."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from socket import create_server

HANG_S = 60
# moto's signature check rejects botocore's own signature of a GET; its policy check works. moto gets a
# listening socket, so that no other process can take its port before it has started.
_PROGRAM = """
import sys
import moto.server
from moto.iam import access_control
from werkzeug.serving import make_server
access_control.IAMRequestBase.check_signature = lambda self: None

def run_simple(host, port, app, *, request_handler, **_):
    make_server(
        host, port, app, threaded=True, request_handler=request_handler, fd=int(sys.argv[1])
    ).serve_forever()

moto.server.run_simple = run_simple
moto.server.main(["-p", sys.argv[2]])
"""


@contextmanager
def running_moto(**environment: str) -> Iterator[dict[str, str]]:
    """Run a moto server on its own port; yield the variables that point boto3 to it.

    With INITIAL_NO_AUTH_ACTION_COUNT, keys must exist and policies apply after that many calls.
    """
    with ExitStack() as stack:
        with create_server(("127.0.0.1", 0), backlog=128) as listener:
            fd, port = listener.fileno(), listener.getsockname()[1]
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", _PROGRAM, str(fd), str(port)],
                    env={**os.environ, **environment},
                    pass_fds=[fd],
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
            )
        stack.callback(process.terminate)
        url = f"http://127.0.0.1:{port}"
        urllib.request.urlopen(f"{url}/moto-api/", timeout=HANG_S).close()
        yield {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "eu-central-1",
            "AWS_REGION": "eu-central-1",
        }
