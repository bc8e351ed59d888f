"""A certificate authority for one test run, made with the openssl command."""

from __future__ import annotations

import functools
import ssl
import subprocess
from pathlib import Path

__all__ = ["Authority"]


def _openssl(*arguments: str | Path) -> None:
    done = subprocess.run(
        ["openssl", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


class Authority:
    """Makes server certificates, which `ca_file` verifies."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca_file = folder / "ca.pem"
        self._key = folder / "ca.key"
        _openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-keyout", self._key, "-out", self.ca_file, "-days", "30", "-subj", "/CN=tests",
        )  # fmt: skip

    @functools.cache  # noqa: B019 - one per test run
    def certificate(
        self, names: str = "DNS:localhost,DNS:lambda.test,IP:127.0.0.1,IP:::1", days: int = 30
    ) -> Path:
        """Return a file with key and certificate for these names; negative days: expired."""
        stem = self.folder / f"server-{abs(hash((names, days)))}"
        request, extension = stem.with_suffix(".csr"), stem.with_suffix(".cnf")
        key, certificate = stem.with_suffix(".key"), stem.with_suffix(".crt")
        extension.write_text(f"subjectAltName={names}\n")
        _openssl(
            "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-keyout", key, "-out", request, "-subj", "/CN=server",
        )  # fmt: skip
        sign = (
            "x509", "-req", "-in", request, "-CA", self.ca_file, "-CAkey", self._key,
            "-CAcreateserial", "-out", certificate, "-extfile", extension,
        )  # fmt: skip
        past = ("-not_before", "20200101000000Z", "-not_after", "20200201000000Z")
        try:
            _openssl(*sign, "-days", str(days))
        except AssertionError:  # OpenSSL 3.4 and later require the end to be after the start
            if days > 0:
                raise
            _openssl(*sign, *past)
        both = stem.with_suffix(".pem")
        both.write_text(key.read_text() + certificate.read_text())
        return both

    def context(
        self, names: str = "DNS:localhost,DNS:lambda.test,IP:127.0.0.1,IP:::1", days: int = 30
    ) -> ssl.SSLContext:
        """Return a server's TLS context."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate(names, days))
        return context
