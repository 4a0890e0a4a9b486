"""The key of a login, from a file that somebody else wrote."""

import os
import subprocess
from base64 import b64encode
from pathlib import Path

import pytest

from oneiric import ssh_auth


def read(path: Path) -> ssh_auth.SshKey | None:
    return ssh_auth.read({"SSH_USER_AUTH": str(path)})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "password\n",
        "publickey",
        "publickey ssh-ed25519\n",
        "publickey ssh-ed25519 ???\n",
        "publickey ssh-ed25519 AAA\n",
        "publickey unheard-of-cert-v01@openssh.com AAAA\n",
        "publickey ssh-ed25519-cert-v01@openssh.com " + b64encode(b"\xff" * 40).decode(),
        "\xff" * 100,
    ],
)
def test_what_names_no_key_is_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "auth"
    path.write_text(text, encoding="latin-1")
    found = read(path)
    assert found is None or (found.certificate is None and found.fingerprint.startswith("SHA256:"))


def test_what_is_no_file_is_none(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, tmp_path / "missing", Path("/dev/zero"), Path("/dev/tty")):
        assert read(path) is None
    assert ssh_auth.read({}) is None


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_a_key_and_its_certificate_have_one_fingerprint(tmp_path: Path, kind: str) -> None:
    def keygen(*options: str) -> str:
        done = subprocess.run(
            ["ssh-keygen", *options], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        return done.stdout

    keygen("-q", "-t", "ed25519", "-N", "", "-f", "authority")
    keygen("-q", "-t", kind, "-N", "", "-f", "key")
    keygen("-q", "-s", "authority", "-I", "ann lee", "-n", "root", "key.pub")
    fingerprint = keygen("-l", "-f", "key").split()[1]
    for name, holder in (("key.pub", None), ("key-cert.pub", "ann lee")):
        shown = (tmp_path / name).read_text().split()
        (tmp_path / "auth").write_text(f"publickey {shown[0]} {shown[1]}\n")
        assert read(tmp_path / "auth") == ssh_auth.SshKey(fingerprint, holder, by_root=False)
