"""What tests of shells look at: the prompt, and the journals that shells leave."""

import json
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
