"""With which key somebody came in over ssh, where sshd says so (``ExposeAuthInfo``)."""

import os
import re
from binascii import a2b_base64, b2a_base64
from collections.abc import Mapping
from stat import S_ISREG
from typing import Final, NamedTuple

from oneiric import facts
from oneiric.descriptors import held
from oneiric.digests import sha256
from oneiric.interrupts import suppress

VARIABLE: Final = "SSH_USER_AUTH"

# In a folder where nobody removes or renames another's files.
_MADE_BY_SSHD: Final = re.compile(r"/tmp/sshauth\.\w+")  # noqa: S108 - a name that is compared
_MAX_BYTES: Final = 64 * 1024
_CERTIFICATE: Final = "-cert-v01@openssh.com"
# How many fields the key itself has within a certificate (PROTOCOL.certkeys of OpenSSH).
_KEY_FIELDS: Final = {
    "ssh-ed25519": 1,
    "ssh-rsa": 2,
    "ecdsa-sha2-nistp256": 2,
    "ecdsa-sha2-nistp384": 2,
    "ecdsa-sha2-nistp521": 2,
    "sk-ssh-ed25519": 2,
    "sk-ecdsa-sha2-nistp256": 3,
}
_SERIAL_AND_KIND: Final = 12


class SshKey(NamedTuple):
    """The key that sshd accepted.

    Attributes:
        fingerprint: as ``ssh-keygen -l`` prints it, of a certificate's key, too.
        certificate: the id of its certificate, by which the authority names its holder.
        by_root: whether only root can have written what this was read from.
    """

    fingerprint: str
    certificate: str | None
    by_root: bool


def read(environ: Mapping[str, str]) -> SshKey | None:
    """The key of this login; ``None`` where there was none, or nobody says which."""
    path = environ.get(VARIABLE)
    if not path:
        return None
    with suppress(OSError, ValueError, LookupError):
        # Not blocking: whoever sets the variable may have named a pipe, or a terminal.
        with held(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)) as file:
            told = os.fstat(file)
            by_root = (told.st_uid, told.st_mode & 0o022) == (0, 0) and bool(_MADE_BY_SSHD.fullmatch(path))
            words = os.read(file, _MAX_BYTES).decode("ascii").split() if S_ISREG(told.st_mode) else []
        kind, blob = words[words.index("publickey") + 1 :][:2]
        return _key(kind, a2b_base64(blob), by_root=by_root and facts.in_host_users())
    return None


def _key(kind: str, blob: bytes, *, by_root: bool) -> SshKey:
    certificate = None
    if kind.endswith(_CERTIFICATE):
        plain = kind.removesuffix(_CERTIFICATE)
        _, rest = _fields(blob, 2)  # the type, and a random number
        key, rest = _fields(rest, _KEY_FIELDS[plain])
        (holder,), _ = _fields(rest[_SERIAL_AND_KIND:], 1)
        certificate = holder.decode()
        plain += "@openssh.com" * plain.startswith("sk-")
        blob = b"".join(len(field).to_bytes(4) + field for field in (plain.encode(), *key))
    digest = b2a_base64(sha256(blob, usedforsecurity=False).digest(), newline=False).decode().rstrip("=")
    return SshKey(f"SHA256:{digest}", certificate or None, by_root)


def _fields(blob: bytes, number: int) -> tuple[list[bytes], bytes]:
    """So many length-prefixed fields, and what is behind them."""
    found = []
    for _ in range(number):
        end = 4 + int.from_bytes(blob[:4])
        found.append(blob[4:end])
        blob = blob[end:]
    return found, blob
