"""Typing errors in words: which value was given, and what is allowed."""

from typing import Any

import typer
from typer.core import TyperGroup


class Commands(TyperGroup):
    """Commands whose typing errors say more than the library that found them."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - its class has no public name
        """Run a command; an error in an option's value is put into words."""
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            error.message = in_words(error)
            raise


def in_words(error: typer.BadParameter) -> str:
    """What is wrong with an option's value: ``'0' is not a whole number from 1 to 10000``."""
    from pydantic import ValidationError  # already there by now

    if not isinstance(error.__cause__, ValidationError):
        return error.message
    first = error.__cause__.errors(include_url=False)[0]
    if first["type"] == "value_error":
        return str(first["ctx"]["error"]).rstrip(".")
    lowest, highest = (getattr(error.param, name, None) for name in ("min", "max"))
    if lowest is None or highest is None:
        return error.message
    return f"{first['input']!r} is not a whole number from {lowest} to {highest}"
