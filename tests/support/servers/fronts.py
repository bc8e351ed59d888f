"""HTTP/2 servers that others wrote, as reverse proxies in front of a scripted server: nginx and nghttpx.

They reach the server over HTTP/1.1. Debian's packages `nginx` and `nghttp2-proxy` have them.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from types import TracebackType

from driver import HANG_S, until

__all__ = ["KINDS", "Front", "program"]

KINDS = ("nginx", "nghttpx")

_NGINX = """
{user} worker_processes 1; daemon off; pid nginx.pid; error_log error.log;
events {{ worker_connections 1000; }}
http {{
  access_log off; client_max_body_size 8m; client_body_temp_path body; proxy_temp_path proxy;
  fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  server {{
    listen 127.0.0.1:{port} ssl http2;
    ssl_certificate {certificate}; ssl_certificate_key {certificate};
    location / {{
      proxy_pass http://127.0.0.1:{to}; proxy_http_version 1.1;
      proxy_set_header Host $http_host; proxy_set_header Connection "";
      proxy_next_upstream off;
    }}
  }}
}}
"""


def program(kind: str) -> str | None:
    """Return the path of the program, or None; a user's PATH may lack its folder."""
    return shutil.which(kind, path=f"{os.environ['PATH']}:/usr/sbin")


class Front:
    """A running front with a certificate for localhost, until the end of the with block."""

    def __init__(self, kind: str, to: int, certificate: Path, folder: Path) -> None:
        self._folder = folder
        # Reserves the port: bound, but not listening.
        self._holder = socket.socket()
        self._holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._holder.bind(("127.0.0.1", 0))
        self.port: int = self._holder.getsockname()[1]
        command = [str(program(kind))]
        if kind == "nginx":
            user = "user root;" if os.getuid() == 0 else ""  # may write to the folder
            (folder / "nginx.conf").write_text(
                _NGINX.format(user=user, port=self.port, certificate=certificate, to=to)
            )
            command += ["-p", str(folder), "-c", "nginx.conf", "-e", "error.log"]
        else:
            command += [
                f"--conf={os.devnull}",
                f"--frontend=127.0.0.1,{self.port}",
                f"--backend=127.0.0.1,{to};;proto=http/1.1",
                "--no-ocsp",
                str(certificate),
                str(certificate),
            ]
        self._log = (folder / "output.log").open("wb")
        self._process = subprocess.Popen(command, stdout=self._log, stderr=self._log)

    def __enter__(self) -> Front:
        try:
            until(self._answers)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    def restart(self) -> None:
        """Have a new process take over; the old one says GOAWAY, and finishes what it has begun."""
        self._process.send_signal(signal.SIGHUP)

    def _answers(self) -> bool:
        assert self._process.poll() is None, (self._folder / "output.log").read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def _stop(self) -> None:
        self._process.terminate()
        self._process.wait(HANG_S)
        self._holder.close()
        self._log.close()
