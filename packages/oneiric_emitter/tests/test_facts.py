import os
import subprocess
import sys

from oneiric import facts


def test_a_process_is_named_by_boot_namespace_and_start() -> None:
    process = facts.process(os.getpid())
    assert process is not None
    assert process["started_at"] == facts.process_start_ticks(os.getpid())
    assert process["boot_id"] == facts.boot_id()


def test_a_dead_process_has_no_start() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert facts.process_start_ticks(child.pid) is None


def test_a_zombie_has_no_start() -> None:
    child = subprocess.Popen(["true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert facts.process_start_ticks(child.pid) is None
    child.wait()


def test_only_ancestors_are_ancestors() -> None:
    assert facts.is_ancestor(os.getpid())
    code = f"from oneiric import facts; print(facts.is_ancestor({os.getpid()}))"
    below = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert below.stdout == "True\n"
    child = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    assert not facts.is_ancestor(child.pid)
    child.communicate()


def test_where_an_operator_came_from() -> None:
    origin = facts.origin({"SSH_CONNECTION": "10.0.0.7 5022 10.0.0.9 22", "SUDO_USER": "ada"}, on_host=True)
    assert origin["ssh_client"] == "10.0.0.7"
    assert origin["sudo_user"] == "ada"


def test_no_current_folder_is_unknown() -> None:
    # Imported first: Python 3.13.0 itself cannot import socket where the folder is gone.
    code = "from oneiric import facts; import os, tempfile; d = tempfile.mkdtemp(); os.chdir(d); os.rmdir(d);"
    code += "print(facts.environment()['cwd'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "unknown"
