"""What a user sees first."""

import doctest

from mahavishnu import banner as module
from mahavishnu.banner import banner


def test_the_banner_is_as_documented() -> None:
    text = banner(
        version="0.1.0",
        adapters=["prefect", "llamaindex", "agno"],
        commands=475,
        completion=True,
        tracking="✓ Enabled",
    )
    assert text == (
        "Mahavishnu v0.1.0 - Admin Shell\n"
        "━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━\n"
        "Adapters: prefect, llamaindex, agno\n"
        "CLI Commands: Enabled (475 commands)\n"
        "Tab Completion: Enabled\n"
        "Session Tracking: ✓ Enabled\n"
        "━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━\n"
    )


def test_what_is_off_is_said_to_be_off() -> None:
    text = banner(
        version="1", adapters=[], commands=None, completion=False, tracking="✗ Disabled (by a test)"
    )
    for line in (
        "Adapters: none",
        "CLI Commands: Disabled",
        "Tab Completion: Disabled",
        "✗ Disabled (by a test)",
    ):
        assert line in text


def test_its_example_runs() -> None:
    assert doctest.testmod(module).failed == 0
