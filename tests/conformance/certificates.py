"""Certificates of the tests' own: two authorities, and a server's that one of them signed."""

import subprocess
from pathlib import Path


def openssl(folder: Path, *words: str) -> None:
    """Run the openssl program in a folder."""
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True, timeout=20)


def make_certificates(folder: Path) -> Path:
    """Make `ours.pem`, `theirs.pem`, and `host.pem` with `host.key`: ours, for localhost."""
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    for name in ("ours", "theirs"):
        openssl(
            folder, "req", "-x509", *key, "-keyout", f"{name}.key", "-out", f"{name}.pem",
            "-subj", f"/CN={name}", "-days", "2",
        )  # fmt: skip
    openssl(
        folder, "req", *key, "-keyout", "host.key", "-out", "host.csr", "-subj", "/CN=localhost"
    )
    (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    openssl(
        folder, "x509", "-req", "-in", "host.csr", "-CA", "ours.pem", "-CAkey", "ours.key",
        "-CAcreateserial", "-out", "host.pem", "-days", "2", "-extfile", "names",
    )  # fmt: skip
    return folder
