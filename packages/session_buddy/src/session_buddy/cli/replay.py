"""``replay``: what this user's shells still have of their sessions, into the history once more."""

from typing import Final

from session_buddy.cli import edge, facts, progress
from session_buddy.client import ask

EXAMPLES: Final = """\b
Journals are kept for a week after they were delivered. What the history knows
stays as it is.

\b
Examples:
  pg_restore --clean --dbname postgresql://buddy@db.example/history monday.dump
  session-buddy replay                            on each machine, as each user"""


def replay() -> None:
    """Bring back what a restored database lacks, from journals."""
    facts.tell_named("this command knows your own history only")
    with progress.shown("Reading journals"):
        answers = ask.replay()
    if not answers:
        edge.say("No journal of this machine holds anything more")
        return
    back, refused = answers.count("stored"), answers.count("forbidden") + answers.count("invalid")
    edge.say(
        f"Of {len(answers):,} events that journals of this machine still hold,"
        f" {back:,} were missing and are back{f'; {refused:,} were refused' if refused else ''}"
    )
