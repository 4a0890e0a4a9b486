"""What tests of shells look at: the prompt, and the journals that shells leave."""

import json
import sys
from pathlib import Path
from typing import Any, Final

PROMPT: Final = r"In \S*\[\S*{}\S*\S*\]: "


def journals(folder: Path) -> list[list[dict[str, Any]]]:
    """The events of each session in the outbox, heartbeats left out."""
    found = []
    for path in sorted(folder.glob("*.jsonl")):
        events = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
        found.append([event for event in events if event["event_type"] != "session_heartbeat"])
    return found


def only_session(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Start and end of the one session that there was."""
    [[began, ended]] = journals(folder)
    return began, ended


def install(folder: Path, name: str, code: str) -> Path:
    """Install a distribution, named as its module, whose console script is the module's ``main``.

    Returns:
        The folder of the program.
    """
    (folder / f"{name}.py").write_text(code)
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[console_scripts]\n{name} = {name}:main\n")
    program = folder / "bin" / name
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\nfrom {name} import main\nmain()\n")
    program.chmod(0o755)
    return program.parent
