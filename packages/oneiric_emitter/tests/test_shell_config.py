"""A component's choices."""

from dataclasses import InitVar
from typing import Any

import pytest

from oneiric.shell import ShellConfig
from oneiric.shell.config import ShellConfig as FromItsModule


def test_it_is_found_where_components_import_it() -> None:
    assert ShellConfig is FromItsModule


def test_choices_are_keywords_and_attributes() -> None:
    config = ShellConfig(banner="x", table_max_width=100)
    assert (config.banner, config.table_max_width, config.display_prompt) == ("x", 100, True)


@pytest.mark.parametrize(
    ("choice", "complaint"),
    [
        ({"table_max_width": 39}, "table_max_width is 39; 40 to 300 columns are allowed"),
        ({"table_max_width": 301}, "table_max_width is 301; 40 to 300 columns are allowed"),
        ({"auto_refresh_interval": 0.5}, "auto_refresh_interval is 0.5; 1 to 60 s are allowed"),
        ({"auto_refresh_interval": 61}, "auto_refresh_interval is 61; 1 to 60 s are allowed"),
    ],
)
def test_a_number_out_of_range_is_refused(choice: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=f"^{complaint}$"):
        ShellConfig(**choice)


def test_a_subclass_adds_choices() -> None:
    class ShopConfig(ShellConfig):
        currency: str = "EUR"

    assert ShopConfig().currency == "EUR"
    config: Any = ShopConfig(currency="CHF", banner="Shop")  # type: ignore[call-arg]
    assert (config.currency, config.banner) == ("CHF", "Shop")
    with pytest.raises(ValueError, match="table_max_width"):
        ShopConfig(table_max_width=1)


@pytest.mark.parametrize(
    ("said", "seconds"), [("2.5", 2.5), ("soon", 0.1), ("nan", 0.0), ("-1", 0.0), ("inf", 60.0), (None, 0.1)]
)
def test_the_environment_says_how_long_a_banner_waits(
    monkeypatch: pytest.MonkeyPatch, said: str | None, seconds: float
) -> None:
    monkeypatch.delenv("ONEIRIC_CONNECT_SECONDS", raising=False)
    if said is not None:
        monkeypatch.setenv("ONEIRIC_CONNECT_SECONDS", said)
    assert ShellConfig().connect_seconds == seconds
    assert ShellConfig(connect_seconds=3).connect_seconds == 3


def test_a_subclass_may_take_what_it_likes() -> None:
    class Titled(ShellConfig):
        def __init__(self, title: str, **choices: Any) -> None:
            super().__init__(banner=title, **choices)

    assert Titled("Shop", table_max_width=50).banner == "Shop"

    class Located(ShellConfig):
        path: InitVar[str] = "/"  # type: ignore[assignment]

        def __post_init__(self, path: str) -> None:
            self.banner = path

    located: Any = Located(path="/srv")  # type: ignore[call-arg]
    assert located.banner == "/srv"
