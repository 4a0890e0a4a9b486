"""Typing errors in words: which value was given, and what is allowed."""

import re
from collections.abc import Callable, Iterable
from itertools import takewhile
from typing import Any, Final

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from oneiric.contract import SESSION_ID_PATTERN
from session_buddy.history.keys import NAMES

_SESSION_ID: Final = re.compile(SESSION_ID_PATTERN)
_WORD: Final = re.compile(r"-\w\w")


def with_values(params: Iterable[object]) -> dict[str, TyperOption]:
    """The options that take a value, by each of their names."""
    options = [one for one in params if isinstance(one, TyperOption) and not one.is_flag]
    return {name: one for one in options for name in one.opts}


def _is_term(word: str) -> bool:
    """Whether a word is a negated term: ``-status:active``."""
    key, colon, _ = word[1:].partition(":")
    return bool(colon) and key.lower().partition(".")[0] in NAMES


class Commands(TyperGroup):
    """Commands whose typing errors say more than the library that found them."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - its class has no public name
        """Run a command; an error in an option's value is put into words."""
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            error.message = in_words(error)
            raise


class Command(TyperCommand):
    """A command that takes an option once: of two values the library would pass over the first, silently."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - its class has no public name
        """Parse what was typed; a session's id, and a term of a query, may begin as an option does."""
        options = [one for one in self.params if isinstance(one, TyperOption)]
        words = [word for word in self._dashed(args) if _SESSION_ID.fullmatch(word) or _is_term(word)]
        if words and "--" not in args:
            args = [*(word for word in args if word not in words), "--", *words]
        if not ctx.resilient_parsing:
            self._require_options(args)
            *_, given = self.make_parser(ctx).parse_args(args=list(args))
            for one in options:
                if given.count(one) > 1 and not (one.multiple or one.is_flag):
                    raise typer.BadParameter("it is given twice; give it once", ctx, one)
        return super().parse_args(ctx, args)

    def _dashed(self, args: list[str]) -> list[str]:
        """The words that begin as options do, and are no option's value."""
        take_values = with_values(self.params)
        return [
            word
            for before, word in zip(["", *args], args, strict=False)
            if word.startswith("-") and before not in take_values
        ]

    def _require_options(self, args: list[str]) -> None:
        """Refuse what begins as an option and may be a word of a query; Typer names its letter alone."""
        if not any(isinstance(one, TyperArgument) and one.nargs == -1 for one in self.params):
            return
        names = {"-h", *(name for one in self.params for name in one.opts)}
        for word in takewhile("--".__ne__, self._dashed(args)):
            if _WORD.match(word) and word[:2] not in names:
                raise typer.BadParameter(f"no option is {word}; sessions without that word: -- {word}")


class App(typer.Typer):
    """Commands of this kind."""

    def command(self, name: str | None = None, **options: Any) -> Callable[[Any], Any]:  # noqa: ANN401 - Typer's own
        """Register one; see :meth:`typer.Typer.command`."""
        return super().command(name, cls=Command, **options)


def in_words(error: typer.BadParameter) -> str:
    """What is wrong with an option's value: ``'0' is not a whole number from 1 to 10000``."""
    from pydantic import ValidationError  # already there by now

    if not isinstance(error.__cause__, ValidationError):
        return error.message
    first = error.__cause__.errors(include_url=False)[0]
    if first["type"] == "value_error":
        return str(first["ctx"]["error"]).rstrip(".")
    lowest, highest = (getattr(error.param, name, None) for name in ("min", "max"))
    if lowest is None:
        return error.message
    up_to = "up" if highest is None else f"to {highest}"
    return f"{first['input']!r} is not a whole number from {lowest} {up_to}"
