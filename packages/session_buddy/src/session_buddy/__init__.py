"""The history of admin shell sessions: an MCP server, its rules, its stores and its command line."""

from typing import Final

__all__ = ["__version__"]

__version__: Final = "0.1.0"
