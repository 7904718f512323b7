"""Certificates for servers on loopback, made by the `openssl` program."""

import subprocess
from pathlib import Path

from support.programs import program

from stream.embedded.server import HOST

_CONFIG = f"""
[req]
distinguished_name = name
prompt = no
[name]
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
[leaf]
basicConstraints = critical, CA:FALSE
subjectAltName = IP:{HOST}
"""


class Authority:
    """A certificate authority in a directory; its own certificate is `certificate` (PEM)."""

    def __init__(self, directory: Path, name: str = "authority") -> None:
        self._directory = directory
        self._config = directory / "openssl.cnf"
        self._config.write_text(_CONFIG)
        self._name = name
        self.certificate, self._key = self._request(name, "authority")

    def issue(self, name: str) -> tuple[Path, Path]:
        """Issue a certificate for `name` on loopback. Returns its file and that of its key (PEM)."""
        return self._request(name, "leaf", "-CA", self.certificate, "-CAkey", self._key)

    def _request(self, name: str, section: str, *signed: str | Path) -> tuple[Path, Path]:
        openssl = program("openssl", "openssl")
        certificate, key = (self._directory / f"{self._name}-{name}.{ending}" for ending in ("pem", "key"))
        subprocess.run(
            [
                openssl, "req", "-x509", "-config", self._config, "-extensions", section, "-days", "2", "-subj", f"/CN={name}",
                "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                "-keyout", key, "-out", certificate, *signed,
            ],
            stdin=subprocess.DEVNULL, capture_output=True, check=True,
        )  # fmt: skip
        return certificate, key
