"""A hostile history: whatever a session can say, it says in a way that could act on who shows it."""

import random
import uuid
from datetime import datetime, timedelta
from typing import Any, Final

from oneiric import contract
from oneiric.compose import session_id_of

Event = dict[str, Any]

# What runs in a page sets this; a test looks whether anything did.
MARK: Final = "owned"
TEXTS: Final = (
    f"<script>window.{MARK}=1</script>",
    f"</script><script>{MARK}=1</script>",
    f"<img src=x onerror={MARK}=1>",
    f"<svg onload={MARK}=1><a xlink:href='javascript:{MARK}=1'><text>x</text></a></svg>",
    f'"><svg/onload={MARK}=1>',
    f"' onmouseover='{MARK}=1",
    f'x" autofocus onfocus="{MARK}=1',
    f"javascript:{MARK}=1",
    "--><!--<b>",
    "]]><![CDATA[",
    "</title></text></svg></main></body>",
    "{{ 7*7 }}{% for x in [] %}{# ${7*7} #}<%= 7*7 %>",
    "&lt;b&gt;&amp;amp;&#60;&nbsp;",
    "a&status=crashed#x?y=%2e%2e/../%00",
    "../../../etc/passwd",
    "'; DROP TABLE sessions; --",
    'user:"ada" -status:active \\"',
    "nimda\u202eada \u2066left\u2069 \u200bzero\u200d\ufeff",
    "תיקון שירה العربية 123",
    "\x1b]0;owned\x07\x1b[2J\x9b5A\x08\x7f",
    "a line\nanother\r\n\ta tab\u2028and\u2029more\x0b\x0c",
    "zalgo\u0301\u0302\u0303\u0301\u0302\u0303\u0301\u0302 \u0335x\u0336",
    "👩\u200d🚀 🖥️ ❤️ 👍🏽 🇺🇳 \U0010ffff",
    "渡辺直美データベースサーバーの再起動を確認する",
    "W" * 4000,
    " " * 60 + ".",
    "%s %d {0} {name} $HOME `id` $(id)",
    "null",
    "=1+1",
)


def hostile(now: datetime) -> list[Event]:
    """Events of a session for each of :data:`TEXTS`, the latest ``now``; every third is in, some crashed."""
    chance = random.Random(0)  # noqa: S311 - no secret
    events: list[Event] = []
    for number, text in enumerate(TEXTS):
        began = now - timedelta(minutes=7 * number)
        events.append(start(text, began, chance))
        if number % 3:
            events.append(end(text, events[-1], began + timedelta(minutes=5), crashed=bool(number % 2)))
    return sorted(events, key=lambda event: event["timestamp"])


def start(text: str, began: datetime, chance: random.Random) -> Event:
    """A start that says ``text`` wherever one can say something, as far as the contract takes it."""
    name, short, path = (
        text[:most] for most in (contract.MAX_USERNAME, contract.MAX_PLATFORM, contract.MAX_PATH)
    )
    places = ["tty", "ssh_client", "ssh_key", "ssh_certificate", "container", "pod", "actor_hint"]
    return {
        "event_type": "session_start",
        "event_version": "1.0",
        "event_id": str(uuid.UUID(int=chance.getrandbits(128), version=4)),
        "timestamp": began.isoformat(),
        "component_name": contract.component_for(text),
        "shell_type": text[: contract.MAX_SHELL_TYPE],
        "pid": 4321,
        "user": {"username": name, "uid": 1000, "home": path},
        "person": {
            "name": name[::-1],
            "evidence": "account",
            "also": [{"name": name, "evidence": "claimed"}, {"name": "ada", "evidence": "asked"}],
        },
        "hostname": text[: contract.MAX_HOSTNAME],
        "environment": {"python_version": short, "platform": short, "cwd": path},
        "origin": dict.fromkeys(places, short) | {"sudo_user": name, "login_name": name},
        "process": {"boot_id": short, "pid_namespace": short, "started_at": 1},
        "reason": text[: contract.MAX_REASON],
        "actor": "agent",
        "agent": name,
        "metadata": {text: text, "list": [text, {"deep": [text]}], "number": 1e300, "nothing": None},
        # A later version may send what this one does not know.
        "later": text,
    }


def end(text: str, started: Event, when: datetime, *, crashed: bool) -> Event:
    """An end that says ``text``, too."""
    how = {"status": "crashed", "exit_reason": "exception", "exit_code": -1} if crashed else {}
    return {
        "event_type": "session_end",
        "session_id": session_id_of(started),
        "timestamp": when.isoformat(),
        "exit_reason": "exit",
        "activity": {"commands": 2**53, "errors": 2**53},
        "metadata": {text: text},
        **how,
    }
