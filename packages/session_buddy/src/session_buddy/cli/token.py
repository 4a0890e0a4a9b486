"""``token``: what MCP clients and other hosts put into their configuration, listed, revoked, signed anew."""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Final

import typer

from session_buddy.cli import edge, render
from session_buddy.cli.clients import entry, own_url
from session_buddy.cli.sessions import FormatOption
from session_buddy.cli.text import in_zone
from session_buddy.cli.wording import App
from session_buddy.errors import InvalidQuery
from session_buddy.history.times import parse_duration
from session_buddy.history.words import Record, count
from session_buddy.host.clients import document

app = App(name="token", help="Tokens for MCP clients, other users and other hosts.", no_args_is_help=True)

FIELDS: Final = ("id", "subject", "scopes", "name", "made_at", "expires_at", "state", "revoked_at")
_TITLES: Final = ("id", "subject", "scopes", "name", "made", "expires", "state")
_SHOWN_DIGITS: Final = 8
_LEAVING: Final = ("made", "scopes", "name")
_MAX_NAME: Final = 100
_STDIN: Final = "-"
_LONGEST_SECONDS: Final = 5200 * 604_800
_SHOW_EXAMPLES: Final = """\b
Examples:
  session-buddy token show
  claude mcp add --transport http session-buddy http://127.0.0.1:8678/mcp \\
      --header "Authorization: Bearer $(session-buddy token show)"
"""
_CREATE_EXAMPLES: Final = """\b
Examples:
  session-buddy token create --subject web1 --scope track --ttl 30d
  session-buddy token create --subject alice --name laptop --scope track --scope read
The other side puts it into SESSION_BUDDY_TOKEN, or into the file that SESSION_BUDDY_TOKEN_FILE names,
and this server's address into SESSION_BUDDY_MCP_ENDPOINT."""
_LIST_EXAMPLES: Final = """\b
Piped: tab-separated rows without a header: id, subject, scopes, name, made,
expires, state, revoked. Tokens of earlier versions are not in the list.

\b
Examples:
  session-buddy token list
  session-buddy token list --format json | jq '.[] | select(.state == "valid")'"""
_REVOKE_EXAMPLES: Final = """\b
Shells that report with it keep what happens in their outbox; with another
token of the same subject in its place, that is delivered.

\b
Examples:
  session-buddy token revoke 1b9d6bcd
  session-buddy token revoke --subject web1
  session-buddy token revoke - < web1.token"""
_ROTATE_EXAMPLES: Final = """\b
Live sessions go on and end properly: to report, tokens that were made before
are good until they expire or are revoked. To read and to administer they are
good for one more hour. With --at-once, they are refused from now on.

\b
Examples:
  session-buddy token rotate
  session-buddy token rotate --at-once --yes"""


class Scope(StrEnum):
    """What a token may allow; an enumeration because Typer repeats no literals."""

    TRACK = "track"
    READ = "read"
    ADMIN = "admin"


@app.command(epilog=_SHOW_EXAMPLES)
def show() -> None:
    """Print a token for this user's MCP clients.

    It may track and read, for a year. It is the same one each time, until it has less than 30 days left, was
    revoked, or its secret was replaced.
    """
    from session_buddy.access.own import own_token  # signing: 0.2 s that few commands need

    token = own_token()
    with edge.output() as stream:
        stream.write(f"{token}\n")
    if edge.on_terminal():
        edge.tell("In an MCP client's configuration:")
        edge.tell(json.dumps(document("claude-code", entry(own_url(), token))))


@app.command(epilog=_CREATE_EXAMPLES)
def create(
    subject: Annotated[
        str, typer.Option(metavar="NAME", help="Whom the token names; sessions are reported in this name.")
    ],
    scope: Annotated[
        list[Scope],
        typer.Option(
            metavar="<track|read|admin>", help="What it allows; give it once for each. admin allows all."
        ),
    ],
    ttl: Annotated[str, typer.Option(metavar="TIME", help="How long it is good: 12h, 30d, 52w.")] = "30d",
    name: Annotated[
        str | None, typer.Option(metavar="TEXT", help="What `token list` calls it, e.g. laptop.")
    ] = None,
) -> None:
    """Print a token for another user, host or program."""
    if name is not None and not (name.isprintable() and 1 <= len(name.strip()) <= len(name) <= _MAX_NAME):
        raise InvalidQuery("name", name, f"1 to {_MAX_NAME} printable characters")
    seconds = parse_duration("ttl", ttl)
    if not 1 <= seconds <= _LONGEST_SECONDS:
        raise InvalidQuery("ttl", ttl, "a length from 1s to 5200w, such as 12h, 30d or 52w")
    from session_buddy.client import tokens  # settings and signing: 0.4 s that few commands need

    token = tokens.create(subject, [one.value for one in scope], seconds, name, edge.tell)
    with edge.output() as stream:
        stream.write(f"{token}\n")


@app.command("list", epilog=_LIST_EXAMPLES)
def list_tokens(form: FormatOption = None) -> None:
    """List the tokens that were made, newest first."""
    from session_buddy.client import tokens

    with tokens.ledger() as ledger:
        records = [ledger.record(one) for one in ledger.tokens]
    if not records and form is None and edge.on_terminal():
        edge.tell("No token was made yet; `session-buddy token create` makes one.")
        return
    with edge.output() as stream:
        if render.is_for_people(form, terminal=edge.on_terminal()):
            stream.writelines(_table([_for_people(one) for one in records]))
        else:
            render.write_rows([{name: one[name] for name in FIELDS} for one in records], form, stream, FIELDS)


def _table(records: Sequence[Record]) -> Iterator[str]:
    """As many columns as the terminal has room for."""
    titles, gone = list(_TITLES), list[str]()
    lines = list(render.plain_table(records, titles))
    for leaving in _LEAVING:
        if max(map(len, lines)) <= edge.width() + 1:  # each has its end
            break
        titles.remove(leaving)
        gone.append(leaving)
        lines = list(render.plain_table(records, titles))
    yield from lines
    if gone:
        yield f"Too narrow for: {', '.join(gone)}; --format json has all\n"


def _for_people(record: dict[str, Any]) -> dict[str, Any]:
    return record | {
        "id": record["id"][:_SHOWN_DIGITS],
        "made": _day(record["made_at"]),
        "expires": _day(record["expires_at"]),
    }


def _day(iso: str) -> str:
    return in_zone(iso).strftime("%Y-%m-%d")


@app.command(epilog=_REVOKE_EXAMPLES)
def revoke(
    tokens_: Annotated[list[str] | None, typer.Argument(metavar="TOKEN", hidden=True)] = None,
    *,
    subject: Annotated[
        str | None, typer.Option(metavar="NAME", help="All that name it; asks before.")
    ] = None,
    yes: edge.Yes = False,
) -> None:
    """Have tokens be refused, by each server, within a second.

    TOKEN is an id as `token list` has it, or a beginning of one; - reads a token itself from standard input.
    """
    refs = tokens_ or []
    # It would stand in the list of processes, and in the shell's history; nor is it repeated here.
    if any(ref.count(".") > 1 for ref in refs):
        edge.fail("a token itself is read from standard input: session-buddy token revoke -", edge.MISTYPED)
    if bool(refs) == (subject is not None):
        raise InvalidQuery("token revoke", " ".join(refs), "ids, or --subject, one of the two")
    from session_buddy.client import tokens

    with tokens.ledger() as ledger:
        if subject is None:
            found = [
                ledger.pasted(sys.stdin.readline().strip()) if ref == _STDIN else ledger.named(ref)
                for ref in refs
            ]
        else:
            found = ledger.of_subject(subject)
            if found:
                edge.agree(f"Revoke {count(len(found), 'token')} of {subject}?", yes=yes)
            else:
                edge.say(f"{subject} has no token that is good.")
        states = {one.id: ledger.state(one) for one in found}
        ledger.revoke([one for one in found if states[one.id] not in {"revoked", "expired"}])
    for one in {token.id: token for token in found}.values():
        which = f"{one.id[:_SHOWN_DIGITS]} of {one.subject}{f' ({one.name})' if one.name else ''}"
        gone = {"revoked": "was revoked already", "expired": "has expired"}.get(states[one.id])
        edge.say(f"{which} {gone}" if gone else f"Revoked {which}")


@app.command(epilog=_ROTATE_EXAMPLES)
def rotate(
    *,
    at_once: Annotated[
        bool, typer.Option("--at-once", help="Refuse all tokens that were made before, from now on.")
    ] = False,
    yes: edge.Yes = False,
) -> None:
    """Sign tokens with a new secret from now on."""
    from session_buddy.access.keyring import GRACE_SECONDS
    from session_buddy.client import tokens

    with tokens.ledger() as ledger:
        if at_once:
            edge.agree("Refuse all tokens that were made before?", yes=yes)
        ledger.rotate(at_once=at_once)
    edge.say("Tokens are signed with a new secret from now on; servers take it up within a second.")
    if at_once:
        edge.say("Those that were made before are refused.")
        return
    until = datetime.fromtimestamp(time.time() + GRACE_SECONDS).astimezone().strftime("%H:%M %Z")
    edge.say(f"Those that were made before read and administer until {until}, and report until they expire.")
