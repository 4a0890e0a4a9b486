"""``config``: which settings are in force, and where each comes from."""

from typing import Annotated, Final

import typer

from oneiric.paths import user_paths
from session_buddy.cli import edge, render
from session_buddy.cli.sessions import FormatOption
from session_buddy.cli.wording import App
from session_buddy.host import process

app = App(name="config", help="The settings: show, check and change them.", no_args_is_help=True)

_SHOW_EXAMPLES: Final = """\b
Piped: tab-separated rows without a header: key, value, where it comes from,
its variable.

\b
Examples:
  session-buddy config show
  session-buddy config show --format json"""
_PATH_EXAMPLES: Final = """\b
Examples:
  "$EDITOR" "$(session-buddy config path)\""""
_VALIDATE_EXAMPLES: Final = """\b
Examples:
  session-buddy config validate && session-buddy mcp restart"""
_SET_EXAMPLES: Final = """\b
Examples:
  session-buddy config set query_seconds 15
  session-buddy config set backup.keep 14
  session-buddy config set allowed_hosts '[buddy.example]'"""
FIELDS: Final = ("key", "value", "source", "variable")


@app.command(epilog=_SHOW_EXAMPLES)
def show(form: FormatOption = None) -> None:
    """Show each setting, and where it comes from."""
    from session_buddy.host.explained import in_force  # 0.3 s

    records = [one._asdict() for one in in_force()]
    with edge.output() as stream:
        if render.is_for_people(form, terminal=edge.on_terminal()):
            stream.writelines(render.plain_table(records, FIELDS[:3]))
        else:
            render.write_rows(records, form, stream, FIELDS)


@app.command(epilog=_PATH_EXAMPLES)
def path() -> None:
    """Print where your own settings file is, or would be."""
    from session_buddy.host.layers import user_file

    edge.say(str(user_file()))


@app.command(epilog=_VALIDATE_EXAMPLES)
def validate() -> None:
    """Check all settings: what a server would read now."""
    from session_buddy.host.explained import DEFAULT, in_force

    settings = in_force()
    changed = [one.key for one in settings if one.source != DEFAULT]
    edge.say(f"The settings are valid; set: {', '.join(changed) or 'none'}")


@app.command("set", epilog=_SET_EXAMPLES)
def set_(
    key: Annotated[str, typer.Argument(metavar="KEY", help="As config show has it, e.g. backup.keep.")],
    value: Annotated[str, typer.Argument(metavar="VALUE", help="As YAML has it.")],
) -> None:
    """Set a value in your own settings file."""
    from session_buddy.host.explained import change, in_force

    file = change(key, value)
    edge.say(f"{key} is set in {file}")
    (now,) = (one for one in in_force() if one.key == key)
    if not now.source.startswith(str(file)):
        edge.tell(f"It has no effect here: {now.source} is stronger")
    elif process.running(user_paths()):
        edge.tell("The running server has it after: session-buddy mcp restart")
