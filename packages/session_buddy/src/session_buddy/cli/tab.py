"""What happens at TAB: how bash, zsh and fish ask, and how each is answered.

They ask by the scripts that ``--install-completion`` writes, which are Typer's. The answers are not: bash
parts words at colons, no shell is to put a blank behind ``user:``, and Typer loads pydantic to find them.
"""

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

import typer
from typer.core import TyperArgument, TyperGroup, TyperOption

from session_buddy.cli import edge
from session_buddy.cli.wording import with_values

_ASKED: Final = "_SESSION_BUDDY_COMPLETE"
_LINE: Final = "_TYPER_COMPLETE_ARGS"
_FISH_ACTION: Final = "_TYPER_COMPLETE_FISH_ACTION"
# Of the characters that part words for bash, those that stand within ours.
_JOINTS: Final = ":=@"
# zsh loads the script at the first TAB, runs it, and expects it to complete; Typer's only defines how.
_AT_ONCE: Final = """
[[ ${zsh_eval_context[-1]} != loadautofunc ]] || _session_buddy_completion "$@"
"""
_OF_FILES: Final = ("FILE", "PATH", "DATABASE")
_END: Final = "\0"


class Line(NamedTuple):
    """What stands before the cursor.

    Attributes:
        words: those that are done, behind the program's name.
        typed: the one that is being typed.
        kept: how much of that the shell does not look at.
    """

    words: list[str]
    typed: str
    kept: str = ""


class Found(NamedTuple):
    """One thing that the word may be."""

    text: str
    help: str = ""

    @property
    def goes_on(self) -> bool:
        """Whether it is only a beginning, behind which no blank is put."""
        return self.text.endswith((":", "."))


class Place(NamedTuple):
    """Where in the command line the cursor is.

    Attributes:
        ctx: the command, with the options that were given.
        param: whose value is typed, if anything's.
        typed: what of it is there.
        before: what stands before that in the same word: ``--status=``.
        words: the command's words so far.
    """

    ctx: typer.Context
    param: TyperOption | TyperArgument | None
    typed: str
    before: str
    words: list[str]

    @property
    def takes_path(self) -> bool:
        """Whether the shell is to complete the name of a file."""
        return "/" in self.typed or (self.param is not None and self.param.metavar in _OF_FILES)


def answered(app: typer.Typer, environ: Mapping[str, str]) -> bool:
    """Answer a shell that asks, and say whether one did; of an error nothing, for somebody is typing."""
    answer = _SHELLS.get(environ.get(_ASKED, ""))
    if answer is None:
        return False
    unsaid = () if environ.get(edge.DEBUG_VARIABLE) else (Exception, KeyboardInterrupt)
    with suppress(*unsaid):
        typer.echo(answer(app, environ), nl=False)
    return True


def mend_zsh() -> None:
    """Have the script that was just installed for zsh, if one was, complete at the first TAB, too."""
    with suppress(OSError):
        script = Path.home() / ".zfunc" / "_session-buddy"
        if _AT_ONCE not in (text := script.read_text(encoding="utf-8")):
            script.write_text(text + _AT_ONCE, encoding="utf-8")


def _bash(app: typer.Typer, environ: Mapping[str, str]) -> str:
    line = _pieced(environ["COMP_WORDS"], int(environ["COMP_CWORD"]))
    found = _found(_place(app, line))
    texts = [one.text.removeprefix(line.kept) for one in found]
    # Of two that begin alike bash types what they share, and no blank.
    texts += [f"{texts[0]}..."] if len(found) == 1 and found[0].goes_on else []
    return "\n".join(texts)


def _zsh(app: typer.Typer, environ: Mapping[str, str]) -> str:
    """Code, which zsh runs."""
    place = _place(app, _whole(environ[_LINE]))
    found = _found(place)
    if not found:
        return "compset -P '*[:=]'; _files" if place.takes_path else ""
    parts, wholes = ([one for one in found if one.goes_on is goes_on] for goes_on in (True, False))
    return "; ".join([*_described("parts", parts, " -S ''"), *_described("wholes", wholes)])


def _described(name: str, found: Sequence[Found], options: str = "") -> Iterator[str]:
    texts = [one.text.replace(":", r"\:") + (f":{one.help}" if one.help else "") for one in found]
    if found:
        yield f"local -a {name}; {name}=({shlex.join(texts)}); _describe '' {name}{options}"


def _fish(app: typer.Typer, environ: Mapping[str, str]) -> str:
    place = _place(app, _whole(environ[_LINE]))
    if environ.get(_FISH_ACTION) == "is-args":
        # Asked first, each time; failing means files.
        raise SystemExit(int(place.takes_path))
    return "\n".join(f"{one.text}\t{one.help}" for one in _found(place))


_SHELLS: Final[dict[str, Callable[[typer.Typer, Mapping[str, str]], str]]] = {
    "complete_bash": _bash,
    "complete_zsh": _zsh,
    "complete_fish": _fish,
}


def _pieced(text: str, at: int) -> Line:
    """The line as bash tells it: ``user:ada`` is three pieces, of which it replaces the last."""
    raw = text.split("\n" if "\n" in text else " ")[: at + 1]
    pieces = [*map(_unquoted, raw), *[""] * (at + 1 - len(raw))]
    *words, typed = _joined(pieces)
    last = "" if _is_joint(pieces[-1]) else pieces[-1]
    return Line(words[1:], typed, typed.removesuffix(last))


def _joined(pieces: Sequence[str]) -> list[str]:
    words = list[str]()
    for before, piece in pairwise(["", *pieces]):
        if words and piece and (_is_joint(before) or _is_joint(piece)):
            words[-1] += piece
        else:
            words.append(piece)
    return words


def _is_joint(piece: str) -> bool:
    return piece != "" and not piece.strip(_JOINTS)


def _unquoted(piece: str) -> str:
    return "".join(_words(piece))


def _whole(line: str) -> Line:
    """The line as zsh and fish tell it: up to the cursor."""
    *words, typed = _words(line + _END)
    return Line(words[1:], typed.removesuffix(_END))


def _words(text: str) -> list[str]:
    """The words of a line, the last of which may have a quote that is still open."""
    for quote in ("", '"', "'"):  # what may be missing
        with suppress(ValueError):
            return shlex.split(text + quote)
    return text.split()


def _place(app: typer.Typer, line: Line) -> Place:
    ctx, words = _command(app, line.words)
    valued = with_values(ctx.command.params)
    ctx.params = {valued[name].name: word for name, word in pairwise(words) if name in valued}
    name, equals, value = line.typed.partition("=")
    if equals and name in valued:
        return Place(ctx, valued[name], value, f"{name}=", words)
    if words and words[-1] in valued:
        return Place(ctx, valued[words[-1]], line.typed, "", words)
    return Place(ctx, _argument(ctx, words), line.typed, "", words)


def _command(app: typer.Typer, words: Sequence[str]) -> tuple[typer.Context, list[str]]:
    """The command that words lead to, and what stands behind its name."""
    root = typer.main.get_command(app)
    ctx, behind = typer.Context(root, **root.context_settings), list[str]()
    for word in words:
        if isinstance(ctx.command, TyperGroup) and word in ctx.command.commands:
            ctx = typer.Context(ctx.command.commands[word], parent=ctx)
        else:
            behind += word.split("=", 1) if word.startswith("--") else [word]
    return ctx, behind


def _argument(ctx: typer.Context, words: Sequence[str]) -> TyperArgument | None:
    """What the next word is, behind these."""
    valued = with_values(ctx.command.params)
    behind = [word for before, word in pairwise(["", *words]) if before not in valued]
    given = sum(not word.startswith("-") for word in behind)
    arguments = [one for one in ctx.command.params if isinstance(one, TyperArgument)]
    return next((one for at, one in enumerate(arguments) if at >= given or one.nargs == -1), None)


def _found(place: Place) -> list[Found]:
    """What may stand there; options once ``-`` is typed, or where there is nothing else."""
    if isinstance(place.param, TyperOption):
        return _values(place)
    found = [*_commands(place), *_values(place)]
    return [*_options(place), *found] if place.typed.startswith("-") or not found else found


def _values(place: Place) -> list[Found]:
    if place.param is None:
        return []
    found = place.param.shell_complete(place.ctx, place.typed)
    return [Found(f"{place.before}{one.value}", one.help or "") for one in found if one.type == "plain"]


def _commands(place: Place) -> list[Found]:
    command = place.ctx.command
    return [
        Found(name, one.get_short_help_str())
        for name, one in (command.commands if isinstance(command, TyperGroup) else {}).items()
        if name.startswith(place.typed) and not one.hidden
    ]


def _options(place: Place) -> list[Found]:
    """The options that may still be given, and begin like this."""
    return [
        Found(name, one.help or "")
        for one in place.ctx.command.get_params(place.ctx)
        if isinstance(one, TyperOption) and not one.hidden
        if one.multiple or not set(one.opts) & set(place.words)
        for name in one.opts
        if name.startswith(place.typed) and "--" not in place.words
    ]
