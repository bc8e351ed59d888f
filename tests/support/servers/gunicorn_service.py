"""A Flask application under gunicorn on its own port."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import lambdamap

__all__ = ["Service"]

_HANG_GUARD_S = 120


class Service:
    """gunicorn with an application and its own arguments; log: its output."""

    def __init__(
        self, folder: Path, application: str, *arguments: str, environment: Mapping[str, str]
    ) -> None:
        """Start it. environment: variables in addition to this process's; PYTHONPATH is extended."""
        root = str(Path(lambdamap.__file__).parents[1])
        paths = [root, environment.get("PYTHONPATH", ""), os.environ.get("PYTHONPATH", "")]
        path = os.pathsep.join(filter(None, paths))
        self.log = folder / "gunicorn.log"
        with socket.socket() as listener, self.log.open("w") as log:
            listener.bind(("127.0.0.1", 0))
            listener.listen(16)
            self.port = listener.getsockname()[1]
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "gunicorn", f"--bind=fd://{listener.fileno()}"),
                    *(*arguments, application),
                ],
                env={**os.environ, **environment, "PYTHONPATH": path},
                stdout=log,
                stderr=log,
                pass_fds=[listener.fileno()],
            )

    def request(
        self, method: str, path: str, body: bytes | None = None, **query: object
    ) -> tuple[int, str]:
        """Return status and text of the reply."""
        text = urllib.parse.urlencode(query)
        url = f"http://127.0.0.1:{self.port}{path}{'?' if text else ''}{text}"
        request = urllib.request.Request(url, data=body, method=method)
        try:
            with urllib.request.urlopen(request, timeout=_HANG_GUARD_S) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            assert self.process.wait(30) == 0, self.log.read_text()
        finally:
            self.process.kill()
            self.process.wait()
