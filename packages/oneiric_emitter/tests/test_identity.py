"""Who is recorded, and by what evidence: real logins, ``su``, ``sudo``, ssh, containers, forged variables."""

import os
import shlex
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest

from oneiric.compose import session_id_of
from tests.accounts import UIDS, Machine

ADA = UIDS["ada"]


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    # Not below tmp_path, which pytest keeps from other users.
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Machine(Path(folder))


class Case(NamedTuple):
    """Who does what, and what is to be recorded: account, person, evidence, whom weaker evidence names."""

    line: str
    login: int | None
    account: str
    person: str | None
    evidence: str | None
    also: Mapping[str, str] = MappingProxyType({})
    name: str = "ada"
    variables: tuple[str, ...] = ()


CASES = {
    "a login": Case("{probe}", ADA, "ada", "ada", "login"),
    "an account, the login unknown": Case("{probe}", None, "ada", "ada", "account"),
    "su to another's account": Case("su bob -c '{probe}'", ADA, "bob", "ada", "login", {"bob": "account"}),
    "su - to a shared account": Case("su - deploy -c '{probe}'", ADA, "deploy", "ada", "login"),
    "su - to root": Case("su - -c '{probe}'", ADA, "root", "ada", "login"),
    "su to root, the login unknown": Case("su -c '{probe}'", None, "root", "ada", "claimed"),
    "su - to root, the login unknown": Case("su - -c '{probe}'", None, "root", None, None),
    "sudo": Case("sudo {probe}", ADA, "root", "ada", "login"),
    "sudo, the login unknown": Case("sudo {probe}", None, "root", "ada", "sudo"),
    "sudo -i": Case("sudo -i {probe}", None, "root", "ada", "sudo"),
    "sudo -u deploy": Case("sudo -u deploy {probe}", None, "deploy", "ada", "sudo"),
    "sudo -u bob": Case("sudo -u bob {probe}", None, "bob", "ada", "sudo", {"bob": "account"}),
    "sudo within sudo": Case('sudo sh -c "sudo -u deploy {probe}; true"', None, "deploy", "ada", "sudo"),
    "sudo, and another's name": Case(
        "sudo SUDO_USER=alice {probe}", None, "root", "ada", "sudo", {"alice": "claimed"}
    ),
    "USER forged": Case("USER=alice {probe}", ADA, "ada", "ada", "login", {"alice": "claimed"}),
    "USER forged by root": Case("USER=alice {probe}", None, "root", "alice", "claimed", name="root"),
    "USER forged by root that logged in": Case(
        "USER=alice {probe}", 0, "root", "alice", "claimed", name="root"
    ),
    "SUDO_USER forged": Case("SUDO_USER=bob {probe}", None, "ada", "ada", "account", {"bob": "claimed"}),
    "SUDO_USER forged by root": Case("SUDO_USER=bob {probe}", None, "root", "bob", "claimed", name="root"),
    "a full name": Case(
        "USER= GIT_AUTHOR_NAME='Ada L.' {probe}", None, "root", "Ada L.", "claimed", name="root"
    ),
    "a full name of who is known": Case("GIT_AUTHOR_NAME='Ada L.' {probe}", None, "ada", "ada", "account"),
    "asked": Case(
        "ONEIRIC_PERSON=ann {probe}",
        None,
        "deploy",
        "ann",
        "asked",
        {"alice": "claimed"},
        "deploy",
        ("USER=alice",),
    ),
    "a shared account": Case("{probe}", UIDS["deploy"], "deploy", None, None, name="deploy"),
    "an account that is shared here": Case("ONEIRIC_SHARED_ACCOUNTS=bob,ada {probe}", ADA, "ada", None, None),
    "the login of an account that is gone": Case("{probe}", 6543, "ada", "6543", "login", {"ada": "account"}),
    "an escape in a name": Case("USER=$(printf 'a\\033[31mb') {probe}", None, "ada", "ada", "account"),
    "a name of 300 letters": Case("USER=$(printf '%0300d' 7) {probe}", None, "ada", "ada", "account"),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_row_says_who_and_how_it_is_known(machine: Machine, case: Case) -> None:
    line = machine.as_account(case.name, case.line.format(probe=machine.probe), case.variables)
    (start,) = machine.starts(line, case.login)
    assert start["user"] == {
        "username": case.account,
        "uid": UIDS[case.account],
        "home": str(machine.home(case.account)),
    }
    assert known(start) == (case.person, case.evidence, case.also)


def known(start: dict[str, Any]) -> tuple[str | None, str | None, dict[str, str]]:
    person = start.get("person", {})
    also = {one["name"]: one["evidence"] for one in person.get("also", ())}
    return person.get("name"), person.get("evidence"), also


def account_and_person(start: dict[str, Any]) -> tuple[str, str | None, str | None]:
    person, evidence, _ = known(start)
    return start["user"]["username"], person, evidence


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        # No one sees who ran sudo, and no login uid can be read.
        ("mount -t tmpfs none /proc\n{sudo}", ("deploy", "ada", "claimed")),
        ("mount -t proc -o hidepid=2 proc /proc\n{sudo}", ("deploy", "ada", "claimed")),
        ("echo 'toor:x:5001:5001::/:/bin/sh' >> /etc/passwd\n{probe}", ("5001", "5001", "account")),
        ("printf 'ada:x:5001:5001::/:/bin/sh\\n' >> /etc/passwd\n{probe}", ("ada", "ada", "account")),
        ("printf 'a\\033b:x:5001:5001::/:/bin/sh\\n' > /etc/passwd\n{probe}", ("5001", "5001", "account")),
        ("printf '%0300d:x:5001:5001::/:/bin/sh\\n' 7 > /etc/passwd\n{probe}", ("5001", "5001", "account")),
        ("printf '\\377:x:5001:5001::/:/bin/sh\\n' > /etc/passwd\n{probe}", ("5001", "5001", "account")),
        (": > /etc/passwd\n{probe}", ("5001", "5001", "account")),
        ("echo '#old:x:5001:5001::/:' >> /etc/passwd\n{probe}", ("ada", "ada", "account")),
        ("echo '+eve:x:5001:5001::/:' >> /etc/passwd\n{probe}", ("ada", "ada", "account")),
        ("printf 'ada:x:05001:5001::/:\\n' > /etc/passwd\n{probe}", ("ada", "ada", "account")),
        ("echo 5001 > /etc/oneiric/shared-accounts\n{probe}", ("ada", None, None)),
        ("printf '\\357\\273\\277ada\\n' > /etc/oneiric/shared-accounts\n{probe}", ("ada", None, None)),
        ("echo '# of ada and bob' > /etc/oneiric/shared-accounts\n{probe}", ("ada", "ada", "account")),
        (
            "rm /etc/oneiric/shared-accounts; mkfifo /etc/oneiric/shared-accounts\n{probe}",
            ("ada", "ada", "account"),
        ),
        ("rm /etc/passwd\n{probe}", ("5001", "5001", "account")),
    ],
)
def test_what_is_not_known_is_a_number_or_claimed(
    fresh_machine: Machine, line: str, expected: tuple[str, str | None, str | None]
) -> None:
    ways = {
        "probe": fresh_machine.as_account("ada", fresh_machine.probe),
        "sudo": fresh_machine.as_account("ada", f"sudo -u deploy {fresh_machine.probe}"),
    }
    (start,) = fresh_machine.starts(line.format(**ways))
    assert account_and_person(start) == expected
    assert start["user"]["uid"] == UIDS["deploy" if "sudo" in line else "ada"]


@pytest.fixture
def fresh_machine() -> Iterator[Machine]:
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Machine(Path(folder))


@pytest.mark.parametrize(
    ("unshare", "expected"),
    [
        ("unshare --user", ("65534", "ada", "claimed")),
        ("unshare --user --map-root-user", ("root", "ada", "claimed")),
        ("unshare --user --map-current-user", ("ada", None, None)),
        ("USER=bob LOGNAME=bob unshare --user --map-user=5002", ("bob", None, None)),
    ],
)
def test_in_a_namespace_of_users_the_login_is_nobody_we_know(
    machine: Machine, unshare: str, expected: tuple[str, str | None, str | None]
) -> None:
    (start,) = machine.starts(machine.as_account("ada", f"{unshare} {machine.probe}"), ADA)
    assert account_and_person(start) == expected
    assert "login_name" not in start["origin"]


def test_a_container_and_its_pod_are_named(machine: Machine) -> None:
    inside = (
        f"KUBERNETES_SERVICE_HOST=10.0.0.1 POD_NAME=shop-7 {machine.probe}; container=podman {machine.probe}"
    )
    line = f"unshare --pid --fork --mount-proc sh -c {shlex.quote(machine.as_account('ada', inside))}"
    pod, container = machine.starts(line, ADA)
    assert pod["origin"] == {"real_uid": ADA, "login_uid": ADA, "pod": "shop-7"}
    assert container["origin"]["container"] == "podman"
    assert account_and_person(pod) == ("ada", "ada", "account")


def test_the_parent_of_a_containers_first_process_is_nobodys_session(machine: Machine) -> None:
    claim = "ONEIRIC_SESSION_ID=shop-20260102-030405-1b9d6bcd:0"
    (start,) = machine.starts(f"exec unshare --pid --fork --mount-proc env {claim} {machine.probe}")
    assert "parent_session_id" not in start


def test_a_container_that_shares_the_hosts_processes_has_other_accounts(machine: Machine) -> None:
    (start,) = machine.starts(machine.as_account("ada", f"container=podman {machine.probe}"), ADA)
    assert start["origin"] == {"real_uid": ADA, "login_uid": ADA, "container": "podman"}
    assert account_and_person(start) == ("ada", "ada", "account")


@pytest.mark.parametrize("uid", [33, 65534])
def test_an_account_of_the_system_is_no_person(fresh_machine: Machine, uid: int) -> None:
    fresh_machine.write("passwd", f"root:x:0:0::/:/bin/sh\nservice:x:{uid}:{uid}::/:/bin/sh\n")
    home = fresh_machine.home("service")
    home.mkdir()
    os.chown(home, uid, uid)
    become = f"setpriv --reuid={uid} --regid={uid} --clear-groups env -i HOME={home} PATH=/usr/bin:/bin"
    (start,) = fresh_machine.starts(f"{become} {fresh_machine.probe}", uid)
    assert account_and_person(start) == ("service", None, None)


def test_shells_within_one_another_are_of_two_people(machine: Machine) -> None:
    line = machine.as_account("ada", f"{machine.probe} su bob -c {shlex.quote(shlex.quote(machine.probe))}")
    outer, inner = machine.starts(line)
    assert account_and_person(outer) == ("ada", "ada", "account")
    assert account_and_person(inner) == ("bob", "bob", "account")
    assert inner["parent_session_id"] == session_id_of(outer)
    outer, inner = machine.starts(line, ADA)
    assert account_and_person(inner) == ("bob", "ada", "login")


def test_without_a_terminal_nobody_is_said_to_act(machine: Machine) -> None:
    as_cron_does = (
        f"env -i HOME={machine.home('ada')} LOGNAME=ada SHELL=/bin/sh PATH=/usr/bin:/bin {machine.probe}"
    )
    (start,) = machine.starts(machine.as_account("ada", as_cron_does))
    assert account_and_person(start) == ("ada", "ada", "account")
    assert "tty" not in start["origin"]
    assert "actor" not in start


def test_a_terminal_attached_anew_is_where_it_was_attached_from(machine: Machine) -> None:
    first, second = (
        f"SSH_CLIENT='{ip} 5 22' SSH_CONNECTION='{ip} 5 10.0.0.9 22'" for ip in ("10.0.0.1", "10.0.0.2")
    )
    line = f"""
        cd {machine.home("ada")}
        export TERM=xterm SHELL=/bin/sh LC_ALL=C.UTF-8
        {first} tmux -f /dev/null -S socket new-session -d 'sleep 100'
        {second} script -qec 'tmux -S socket attach' /dev/null < /dev/null > /dev/null 2>&1 &
        until tmux -S socket list-clients | grep -q .; do sleep 0.05; done
        tmux -S socket new-window '{machine.probe} > found; tmux -S socket wait-for -S done'
        tmux -S socket wait-for done
        cat found
        tmux -S socket kill-server
    """
    (start,) = machine.starts(machine.as_account("ada", line))
    assert start["origin"]["ssh_client"] == "10.0.0.2"
    assert start["origin"]["tty"].startswith("/dev/pts/")


SSHD = """
mount -t tmpfs tmpfs /run
mkdir /run/sshd
cd {folder}/keys
/usr/sbin/sshd -D -e -f config 2>sshd.log &
until bash -c ": < /dev/tcp/127.0.0.1/{port}" 2>/dev/null; do kill -0 $!; sleep 0.05; done
ssh="ssh -F none -p {port} -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
{commands}
kill $!
"""
SSHD_CONFIG = """
ListenAddress 127.0.0.1:{port}
HostKey {folder}/keys/host
AuthorizedKeysFile {folder}/keys/plain.pub
TrustedUserCAKeys {folder}/keys/authority.pub
ExposeAuthInfo yes
PermitRootLogin yes
PidFile none
StrictModes no
UsePAM yes
"""


@pytest.fixture
def sshd(machine: Machine) -> Callable[..., list[dict[str, Any]]]:
    """Logins over ssh, each a name of a key and an account."""
    keys = machine.folder / "keys"
    keys.mkdir()
    for name, kind in {"host": "ed25519", "plain": "rsa", "authority": "ed25519", "anns": "ecdsa"}.items():
        keygen("-q", "-t", kind, "-N", "", "-f", str(keys / name))
    keygen("-q", "-s", str(keys / "authority"), "-I", "ann", "-n", "root,deploy", str(keys / "anns.pub"))
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    (keys / "config").write_text(SSHD_CONFIG.format(port=port, folder=machine.folder))

    def log_in(*logins: tuple[str, str]) -> list[dict[str, Any]]:
        commands = [f"$ssh -i {key} {name}@127.0.0.1 {machine.probe}" for key, name in logins]
        return machine.starts(SSHD.format(port=port, folder=machine.folder, commands="\n".join(commands)))

    return log_in


def keygen(*options: str) -> str:
    return subprocess.run(["ssh-keygen", *options], capture_output=True, text=True, check=True).stdout


def test_over_ssh_the_kernel_knows_the_login_and_sshd_the_key(
    machine: Machine, sshd: Callable[..., list[dict[str, Any]]]
) -> None:
    ada, deploy, certified, root = sshd(
        ("plain", "ada"), ("plain", "deploy"), ("anns", "deploy"), ("anns", "root")
    )
    assert account_and_person(ada) == ("ada", "ada", "login")
    assert ada["origin"]["ssh_client"] == "127.0.0.1"
    fingerprints = [
        keygen("-l", "-f", str(machine.folder / "keys" / name)).split()[1] for name in ("plain", "anns")
    ]
    assert [start["origin"]["ssh_key"] for start in (ada, certified)] == fingerprints
    assert account_and_person(deploy) == ("deploy", None, None)
    # The file in which sshd says so is the account's own: it could have written it.
    assert account_and_person(certified) == ("deploy", "ann", "claimed")
    assert account_and_person(root) == ("root", "ann", "ssh_key")
    assert root["origin"]["ssh_certificate"] == "ann"
    # Root's, and sshd's by its name, but anybody could have written it.
    kind, blob, *_ = (machine.folder / "keys" / "anns-cert.pub").read_text().split()
    for path in (machine.folder / "auth", Path("/tmp/sshauth.ours")):
        said = f"echo publickey {kind} {blob} > {path}; chmod 666 {path}"
        probe = machine.as_account("deploy", f"SSH_USER_AUTH={path} {machine.probe}")
        (start,) = machine.starts(f"{said}\n{probe}\nrm {path}")
        assert account_and_person(start) == ("deploy", "ann", "claimed")


def test_the_shared_accounts_are_read_without_an_import(python: Any, tmp_path: Path) -> None:
    (tmp_path / "shared-accounts").write_text("\ufeffdeploy # the robot\n")
    code = f"""
import sys, oneiric
from oneiric import identity
identity.SHARED_ACCOUNTS_FILE = {str(tmp_path / "shared-accounts")!r}
before = set(sys.modules)
print("deploy" in identity._shared_accounts(""), set(sys.modules) - before)
"""
    assert python(code).stdout == "True set()\n"
