"""What a user sees first; every line from settings and facts."""

from collections.abc import Sequence

RULE = "━" * 50


def banner(
    *, version: str, adapters: Sequence[str], commands: int | None, completion: bool, tracking: str
) -> str:
    """The banner.

    Args:
        version: of Mahavishnu.
        adapters: names of the enabled ones.
        commands: how many can be typed without a prefix; ``None``: that is switched off.
        completion: whether Tab completes them.
        tracking: the state of the session tracking.

    >>> print(banner(version="0.1.0", adapters=["agno"], commands=3, completion=True, tracking="✓ Enabled"))
    Mahavishnu v0.1.0 - Admin Shell
    ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━
    Adapters: agno
    CLI Commands: Enabled (3 commands)
    Tab Completion: Enabled
    Session Tracking: ✓ Enabled
    ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━
    <BLANKLINE>
    """
    return f"""\
Mahavishnu v{version} - Admin Shell
{RULE}
Adapters: {", ".join(adapters) or "none"}
CLI Commands: {"Disabled" if commands is None else f"Enabled ({commands} commands)"}
Tab Completion: {"Enabled" if completion else "Disabled"}
Session Tracking: {tracking}
{RULE}
"""
