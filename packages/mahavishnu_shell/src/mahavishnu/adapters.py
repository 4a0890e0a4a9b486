"""Facts about the orchestration adapters: enabled in the settings, installed here, reachable from here.

Only ``%status`` asks for the last two: they cost time that a starting shell must not spend.
"""

import os
import socket
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from urllib.parse import urlsplit

from mahavishnu.settings import Adapters

DISTRIBUTIONS = {"prefect": "prefect", "llamaindex": "llama-index", "agno": "agno"}
SERVERS = {"prefect": "PREFECT_API_URL"}  # the others are libraries in this process
_CONNECT_SECONDS = 0.5


def describe(adapters: Adapters, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """One line of facts for each adapter, by name."""
    env = os.environ if environ is None else environ
    return {name: ", ".join(_facts(name, on=on, environ=env)) for name, on in asdict(adapters).items()}


def enabled(adapters: Adapters) -> list[str]:
    """Names of the adapters that are switched on."""
    return [name for name, on in asdict(adapters).items() if on]


def _facts(name: str, *, on: bool, environ: Mapping[str, str]) -> list[str]:
    facts = ["enabled" if on else "disabled", _installed(DISTRIBUTIONS[name])]
    url = environ.get(SERVERS.get(name, ""), "")
    if url:
        facts.append(f"{url} {'answers' if _answers(url) else 'does not answer'}")
    return facts


def _installed(distribution: str) -> str:
    try:
        return f"{distribution} {version(distribution)} installed"
    except PackageNotFoundError:
        return f"{distribution} not installed"


def _answers(url: str) -> bool:
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        with socket.create_connection((parts.hostname or "", port), timeout=_CONNECT_SECONDS):
            return True
    except (OSError, ValueError):
        return False
