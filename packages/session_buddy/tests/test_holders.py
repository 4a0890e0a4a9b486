"""Who holds a port or a file."""

import os
import socket
import subprocess
import sys

import psutil
import pytest

from session_buddy.host.holders import listener_on, program_of


def test_a_program_is_named_by_its_command_line() -> None:
    assert sys.executable.rsplit("/", 1)[1][:6] in (program_of(os.getpid()) or "")


def test_a_process_that_is_gone_has_no_program() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    assert program_of(process.pid) is None


def test_a_listener_is_found_by_its_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]
        assert listener_on(port) == os.getpid()
    assert listener_on(port) is None


def test_where_the_system_does_not_tell_it_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(kind: str) -> None:
        raise psutil.AccessDenied(msg=kind)

    monkeypatch.setattr(psutil, "net_connections", denied)
    assert listener_on(1) is None
