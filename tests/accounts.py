"""A machine whose accounts are a test's own, in a private mount of ``/etc``; logins are the kernel's."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

UIDS: Final = {"root": 0, "ada": 5001, "bob": 5002, "deploy": 5003}
# Records one session and prints what its start says.
_PROBE: Final = """
import json, os, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "src"))
from oneiric import SessionEventEmitter, entries
from oneiric.paths import user_paths
emitter = SessionEventEmitter("probe")
session_id = emitter.start_session("Probe")
(path,) = user_paths(os.environ).outbox.glob(f"{session_id}*.jsonl")
print("START " + json.dumps(entries.read(path).start), flush=True)
if sys.argv[1:]:
    os.system(" ".join(sys.argv[1:]))
emitter.end_session()
"""
_SSHD: Final = "sshd:x:105:65534::/run/sshd:/usr/sbin/nologin\n"
_PASSWORDS: Final = "".join(f"{name}::19000:0:99999:7:::\n" for name in UIDS)


class Machine:
    """A machine with the accounts of :data:`UIDS`; ``deploy`` is shared, ``ada`` may use sudo.

    Args:
        folder: where everything lies that is its own; others than root come in.
    """

    def __init__(self, folder: Path) -> None:
        if os.geteuid() != 0 or shutil.which("unshare") is None:
            pytest.skip("only root can mount account files of its own")
        self.folder = folder
        for part in ("etc/oneiric", "work", "python", "src"):
            (folder / part).mkdir(parents=True)
        for name, uid in UIDS.items():
            self.home(name).mkdir(parents=True)
            os.chown(self.home(name), uid, uid)
        self.write("passwd", "".join(map(self.account, UIDS)) + _SSHD)
        self.write("group", "".join(f"{name}:x:{uid}:\n" for name, uid in UIDS.items()))
        self.write("shadow", _PASSWORDS, 0o600)
        self.write("sudoers", "root ALL=(ALL) ALL\nada ALL=(ALL) NOPASSWD: ALL\n", 0o440)
        self.write("oneiric/shared-accounts", "deploy\n")
        (folder / "probe.py").write_text(_PROBE)
        # A Python that is elsewhere than it was built for may have to be told where its library is.
        library = f"env LD_LIBRARY_PATH={folder}/python/lib"
        self.probe = f"{library} {folder}/python/bin/python3 {folder}/probe.py"

    def home(self, name: str) -> Path:
        """An account's home."""
        return self.folder / "homes" / name

    def account(self, name: str) -> str:
        """An account's line in the account file."""
        return f"{name}:x:{UIDS[name]}:{UIDS[name]}::{self.home(name)}:/bin/sh\n"

    def write(self, name: str, text: str, mode: int = 0o644) -> None:
        """Have a file in ``/etc``."""
        path = self.folder / "etc" / name
        path.write_text(text)
        path.chmod(mode)

    def command(self, line: str, login: int | None = None) -> list[str]:
        """What runs a line of ``sh`` here, as root, whose kernel's login uid is ``login``."""
        mounts = f"lowerdir=/etc,upperdir={self.folder}/etc,workdir={self.folder}/work"
        source = Path(__file__).parent.parent / "packages" / "oneiric_emitter" / "src"
        steps = [
            "set -e",
            f"mount -t overlay overlay -o {mounts} /etc",
            f"mount --bind {sys.base_prefix} {self.folder}/python",
            f"mount --bind {source} {self.folder}/src",
            f"echo {login} > /proc/self/loginuid" if login is not None else "",
            line,
        ]
        # Its own processes end with it, also where it hangs.
        return [
            "timeout",
            "--kill-after=1",
            "50",
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            "\n".join(steps),
        ]

    def starts(
        self, line: str, login: int | None = None, environ: Mapping[str, str] | None = None
    ) -> list[dict[str, Any]]:
        """The starts that the probes of a line recorded."""
        done = subprocess.run(
            self.command(line, login),
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(self.home("root")), **(environ or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            start_new_session=True,
        )
        found = [
            line.removeprefix("START ") for line in done.stdout.splitlines() if line.startswith("START ")
        ]
        assert found, f"{line!r} recorded nothing:\n{done.stdout}{done.stderr}"
        return [json.loads(start) for start in found]

    def as_account(self, name: str, line: str, variables: Sequence[str] = ()) -> str:
        """A line that runs ``line`` in a shell of an account; the shell stays while it runs."""
        uid = UIDS[name]
        environ = ["PATH=/usr/bin:/bin:/usr/sbin", f"HOME={self.home(name)}", f"USER={name}", *variables]
        shell = ["sh", "-c", f"{line}; true"]
        return shlex.join(
            ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "env", "-i", *environ, *shell]
        )
