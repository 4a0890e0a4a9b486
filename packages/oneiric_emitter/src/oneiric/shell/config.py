"""What a component may choose about its shell."""

import os
from contextlib import suppress
from dataclasses import dataclass, field
from functools import wraps
from inspect import signature
from typing import Any

from oneiric import log

_REFRESH_SECONDS = (1.0, 60.0)
_CONNECT_SECONDS = 0.1
_LONGEST_WAIT = 60.0


def _connect_seconds() -> float:
    with suppress(KeyError, ValueError):
        return min(max(0.0, float(os.environ["ONEIRIC_CONNECT_SECONDS"])), _LONGEST_WAIT)
    return _CONNECT_SECONDS


@dataclass(kw_only=True)
class ShellConfig:
    """Choices of one :class:`~oneiric.shell.AdminShell`; a subclass's annotated defaults become choices too.

    A dataclass and no pydantic model: a first model costs a starting shell 0.13 s, a third of its prompt.

    Attributes:
        banner: title of the default banner.
        display_prompt: show ``In [1]:``; off: an empty prompt.
        table_max_width: columns that a table may take, 40 to 300.
        show_tracebacks: tracebacks with their variables; off: as IPython is configured.
        auto_refresh_enabled: for components with live views.
        auto_refresh_interval: seconds between two refreshes, 1 to 60.
        cli_preprocessing_enabled: run the component's commands typed without a prefix.
        tab_completion_enabled: complete those commands with Tab.
        session_reason: why this session is held, stored with it.
        ask_person: ask at a terminal who it is, where the account and the login do not tell.
        tracking_disabled: why this shell reports no session, shown to its user; ``None``: it does.
        connect_seconds: how long the banner waits for a server's answer, if it is not there by then; by
            default what ``ONEIRIC_CONNECT_SECONDS`` says, else 0.1; 60 at most.

    Raises:
        ValueError: a number is out of its range.
    """

    banner: str = "Admin Shell"
    display_prompt: bool = True
    table_max_width: int = 120
    show_tracebacks: bool = False
    auto_refresh_enabled: bool = False
    auto_refresh_interval: float = 5.0
    cli_preprocessing_enabled: bool = False
    tab_completion_enabled: bool = True
    session_reason: str | None = None
    ask_person: bool = False
    tracking_disabled: str | None = None
    connect_seconds: float = field(default_factory=_connect_seconds)

    def __init_subclass__(cls, **options: Any) -> None:  # noqa: ANN401 - whatever other bases take
        super().__init_subclass__(**options)
        has_its_own = "__init__" in vars(cls)
        dataclass(kw_only=True)(cls)
        if not has_its_own:
            _pass_over_unknown(cls)

    def __post_init__(self) -> None:
        if self.table_max_width not in range(40, 301):
            raise ValueError(f"table_max_width is {self.table_max_width!r}; 40 to 300 columns are allowed")
        low, high = _REFRESH_SECONDS
        if not low <= self.auto_refresh_interval <= high:
            raise ValueError(
                f"auto_refresh_interval is {self.auto_refresh_interval!r}; {low:g} to {high:g} s are allowed"
            )


def _pass_over_unknown(cls: type[ShellConfig]) -> None:
    """Have a class of choices pass over those that it does not have, as the earlier base did, and say so."""
    take = cls.__init__
    known = signature(take).parameters

    def init(self: ShellConfig, **choices: Any) -> None:  # noqa: ANN401 - values of any choices
        for name in choices.keys() - known:
            log.warning("%s has no choice %r, which is passed over", cls.__name__, name)
        take(self, **{name: value for name, value in choices.items() if name in known})

    cls.__init__ = wraps(take)(init)  # type: ignore[method-assign]


_pass_over_unknown(ShellConfig)
