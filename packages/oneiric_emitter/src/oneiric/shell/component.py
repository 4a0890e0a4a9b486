"""What a component says of itself at its shell: how it is called, what it can do, what is defined there."""

import asyncio
import logging
import re
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from oneiric import log
from oneiric.contract import MAX_COMPONENT
from oneiric.shell.commands import Commands
from oneiric.shell.config import ShellConfig

logger = logging.getLogger("oneiric.shell.core")  # as it was always called at the prompt


class Component:
    """What subclasses of a shell override: the hooks that say something of their component."""

    app: Any
    config: ShellConfig
    commands: Commands

    @property
    def component_name(self) -> str:
        """What the session is filed under: the hook's answer, else ``shop`` for ``ShopShell``."""
        named = self._get_component_name()
        if named:
            return named
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", type(self).__name__.removesuffix("Shell"))
        return re.sub(r"[^A-Za-z0-9_-]", "-", words).lower()[:MAX_COMPONENT] or "shell"

    def add_helper(self, name: str, func: Callable[..., Any]) -> None:
        """Define a function at the prompt."""
        self.namespace[name] = func

    def add_object(self, name: str, obj: object) -> None:
        """Define an object at the prompt."""
        self.namespace[name] = obj

    def _get_component_name(self) -> str | None:
        return None

    def _get_component_version(self) -> str:
        try:
            return version(self.component_name)
        except PackageNotFoundError:
            return "unknown"

    def _get_adapters_info(self) -> list[str]:
        return []

    def _get_command_programs(self) -> tuple[str, ...]:
        """Installed programs whose commands are understood without a prefix."""
        return (self.component_name,)

    def _get_session_metadata(self) -> dict[str, Any]:
        return {
            **answers(version=self._get_component_version, adapters=self._get_adapters_info),
            "cli_preprocessing_enabled": self.config.cli_preprocessing_enabled,
            "tab_completion_enabled": self.config.tab_completion_enabled,
            "command_tree_size": len(self.commands),
        }

    def _build_namespace(self) -> None:
        from rich.console import Console
        from rich.table import Table

        self.namespace: dict[str, Any] = {
            "app": self.app,
            "asyncio": asyncio,
            "run": asyncio.run,
            "logger": logger,
            "Console": Console,
            "Table": Table,
        }


def answers(**hooks: Callable[[], Any]) -> dict[str, Any]:
    """What each hook says, by keyword, without those that fail: the session is worth more than its facts."""
    said = {}
    for name, hook in hooks.items():
        try:
            said[name] = hook()
        except Exception as error:  # noqa: BLE001 - code of subclasses, see above
            where = getattr(hook, "__qualname__", hook)
            log.warning("%s failed, the session is recorded without its %s: %r", where, name, error)
    return said
