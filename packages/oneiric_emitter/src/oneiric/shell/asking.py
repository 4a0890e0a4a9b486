"""Ask at the terminal who it is, where the account and the login do not tell."""

# ruff: noqa: T201 - what is printed is for the person who is asked
import os
import sys
from collections.abc import Mapping

from oneiric import agents, facts, identity, ssh_auth


def ask_person(environ: Mapping[str, str]) -> str | None:
    """The name that somebody gives; ``None``: it is known by more than a word, or nobody answers.

    An agent's tool is not asked: it may hold a terminal, and would wait at the question for ever.
    """
    login_uid, key = facts.login_uid() if facts.on_host() else None, ssh_auth.read(environ)
    known = identity.person(environ, login_uid, key)
    proven = known is not None and known["evidence"] != "claimed"
    agent = agents.acting(environ, None, at_terminal=True).actor == "agent"
    if proven or agent or not sys.stdin.isatty():
        return None
    account = identity.account_name(os.geteuid())
    try:
        while name := input(f"Who are you? The history knows only {account} (Enter: leave it so) ").strip():
            if not identity.is_presentable(name):
                print("A name has at most 100 letters, on one line.")
            elif (identity.person(environ, login_uid, key, name) or {}).get("evidence") == "asked":
                return name
            else:
                print(f"{name} is a shared account, too; your own name is asked for.")
    except (EOFError, KeyboardInterrupt):
        print()  # the prompt begins a line of its own
    return None
