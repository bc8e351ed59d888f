"""nginx as the function: replies of 2 KB, at once or after a while, plain and over TLS."""

from __future__ import annotations

import secrets
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType

from lambdamap import _codec

# Sizes of the results in a reply, and their number; the function is rSIZExITEMS.
RESULTS = ((100, 1), (2000, 1), (100, 100))
MODULES = ("/usr/lib/nginx/modules", "/usr/share/nginx/modules")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Target:
    """A running nginx with a certificate of its own; stopped by its process."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self.folder = Path(self._folder.name)
        self.plain, self.tls, self.http2 = _free_port(), _free_port(), _free_port()
        self.ca_file = str(self.folder / "cert.pem")
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Target:
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
             "-nodes", "-keyout", "key.pem", "-out", "cert.pem", "-days", "30",
             "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
            cwd=self.folder, check=True, capture_output=True,
        )  # fmt: skip
        modules = next(place for place in MODULES if Path(place).is_dir())
        text = Path(__file__).with_name("nginx.conf.in").read_text()
        values = {
            "MODULES": modules,
            "PLAIN": str(self.plain),
            "TLS": str(self.tls),
            "HTTP2": str(self.http2),
            "REPLIES": " ".join(f"r{size}x{items}" for size, items in RESULTS),
            "REPLY": _codec.encode_text([[49], {}], compression=False),
        }
        for size, items in RESULTS:
            results = [secrets.token_hex(size // 2) for _ in range(items)]
            reply = _codec.encode_text([results, {}], compression=False)
            (self.folder / f"r{size}x{items}").write_text(reply)
        for name, value in values.items():
            text = text.replace(f"@{name}@", value)
        (self.folder / "nginx.conf").write_text(text)
        self._process = subprocess.Popen(
            ["nginx", "-p", str(self.folder), "-c", "nginx.conf"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.tls)) == 0:
                    return self
            time.sleep(0.02)
        raise RuntimeError("nginx did not start: " + (self.folder / "error.log").read_text())

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
        self._folder.cleanup()

    def http2_url(self) -> str:
        """Base URL where ALPN offers HTTP/2 as well."""
        return f"https://localhost:{self.http2}"

    def url(self, tls: bool) -> str:
        """Base URL of the Invoke API."""
        return f"https://localhost:{self.tls}" if tls else f"http://127.0.0.1:{self.plain}"
