"""Who acts: a person, an agent, an automation; by hints of the environment where nobody says it."""

from collections.abc import Mapping
from typing import Final, NamedTuple, get_args

from oneiric.contract import Actor

ACTOR: Final = "ONEIRIC_ACTOR"

_OFF: Final = frozenset({"", "0", "false", "no", "off"})
_ACTORS: Final = get_args(Actor)
# What tools set for the commands that they run, and not what their users set: the name is the value itself,
# or stands here.
HINTS: Final[dict[str, str | None]] = {
    "AI_AGENT": None,
    "CLAUDE_CODE_IS_COWORK": "cowork",
    "CLAUDECODE": "claude_code",
    "CURSOR_AGENT": "cursor-cli",
    "GEMINI_CLI": "gemini_cli",
    "CLINE_ACTIVE": "cline",
    "CODEX_SANDBOX": "codex_cli",
    "CODEX_CI": "codex_cli",
    "CODEX_THREAD_ID": "codex_cli",
    "ANTIGRAVITY_AGENT": "antigravity",
    "AUGMENT_AGENT": "augment-cli",
    "OPENCODE": "open_code",
    "OPENCLAW_SHELL": "openclaw",
}
# Most CI systems set the first.
AUTOMATIONS: Final = ("CI", "JENKINS_URL", "TF_BUILD")


class Acting(NamedTuple):
    """Who acts.

    Attributes:
        actor: the contract's word; ``None``: unknown.
        agent: the agent's name.
        hint: the variable that only hints at it; ``None`` where somebody said so.
    """

    actor: str | None = None
    agent: str | None = None
    hint: str | None = None


def acting(environ: Mapping[str, str], said: str | None, *, at_terminal: bool) -> Acting:
    """Who acts: as ``said``, else as ``ONEIRIC_ACTOR`` says, else as tools leave traces."""
    told = next((one for one in (said, environ.get(ACTOR)) if one in _ACTORS), None)
    hint = next((name for name in HINTS if _is_set(environ, name)), None)
    agent = HINTS[hint] or environ.get(hint, "").strip() if hint else None
    if told is not None:
        return Acting(told, agent if told == "agent" else None)
    if agent is not None:
        return Acting("agent", agent, hint)
    automation = None if at_terminal else next((name for name in AUTOMATIONS if _is_set(environ, name)), None)
    return Acting("automation", None, automation) if automation else Acting()


def _is_set(environ: Mapping[str, str], name: str) -> bool:
    return environ.get(name, "").strip().lower() not in _OFF
