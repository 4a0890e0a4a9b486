"""The Mahavishnu admin shell."""

import asyncio
import logging

from mahavishnu import __version__, adapters
from mahavishnu.banner import banner
from mahavishnu.magics import MahavishnuMagics
from mahavishnu.settings import Settings
from oneiric.shell import AdminShell, ShellConfig


class MahavishnuShell(AdminShell):
    """IPython with the commands of ``mahavishnu`` and ``session-buddy``, its session tracked.

    Args:
        app: the settings, ``app`` at the prompt.
        config: by default what the settings say.
        reason: why this session is held, stored with it.
    """

    magics_classes = (*AdminShell.magics_classes, MahavishnuMagics)

    def __init__(
        self, app: Settings, config: ShellConfig | None = None, *, reason: str | None = None
    ) -> None:
        super().__init__(app, config or _config(app, reason))

    def _get_component_name(self) -> str:
        return "mahavishnu"

    def _get_component_version(self) -> str:
        return __version__

    def _get_adapters_info(self) -> list[str]:
        return adapters.enabled(self.app.adapters)

    def _get_command_programs(self) -> tuple[str, ...]:
        return ("mahavishnu", "session-buddy")

    def _get_banner(self) -> str:
        return banner(
            version=self._get_component_version(),
            adapters=self._get_adapters_info(),
            commands=len(self.commands) if self.config.cli_preprocessing_enabled else None,
            completion=self.config.cli_preprocessing_enabled and self.config.tab_completion_enabled,
            tracking=self.tracking_status(self.config.connect_seconds),
        )

    def _build_namespace(self) -> None:
        self.namespace = {
            "app": self.app,
            "settings": self.app,
            "asyncio": asyncio,
            "run": asyncio.run,
            "logger": logging.getLogger("mahavishnu"),
        }

    def get_status(self) -> dict[str, str]:
        """Labels and values of ``%status``: the shell's, the adapters', the settings' places."""
        facts = adapters.describe(self.app.adapters)
        status = super().get_status()
        del status["Application"]
        places = ", ".join(layer.place.name for layer in self.app.layers) or "the defaults"
        return status | {f"Adapter {name}": line for name, line in facts.items()} | {"Settings": places}


def _config(settings: Settings, reason: str | None) -> ShellConfig:
    off = None if settings.session.enabled else f"by {settings.place('session', 'enabled')}"
    return ShellConfig(
        banner="Mahavishnu",
        cli_preprocessing_enabled=settings.shell.cli_commands,
        tab_completion_enabled=settings.shell.tab_completion,
        tracking_disabled=off,
        session_reason=reason,
        ask_person=settings.session.ask_person,
    )
