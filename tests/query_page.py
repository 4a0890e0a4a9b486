"""The page on queries, docs/query.md: made of the parser's own tables, and of what it reads."""

import sys
from datetime import datetime
from pathlib import Path
from textwrap import fill
from typing import Final, get_args
from zoneinfo import ZoneInfo

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from oneiric.contract import Actor, ExitReason
from session_buddy.history.fields import FIELDS
from session_buddy.history.keys import KEYS, STATUS_FILTERS, Kind
from session_buddy.history.query import FILTERS, SORTS
from session_buddy.history.times import parse_overlap

VALUES: Final[dict[Kind, str]] = {
    "text": "a text",
    "words": "a word",
    "id": "an id, or a part of one",
    "status": ", ".join(STATUS_FILTERS),
    "exit": f"{', '.join(get_args(ExitReason))}; or a number",
    "choice": ", ".join(get_args(Actor)),
    "number": "a number: `7`, `>0`, `<=5`, `1..5`",
    "duration": "a length: `>90s`, `<=30m`, `1h..8h`, `>1h30m`, `>7d`",
    "time": "a time, `>` or `<` one, or a span",
    "overlap": "a time, or a span",
}
NOW: Final = datetime(2026, 11, 27, 15, 30, tzinfo=ZoneInfo("Europe/Berlin"))
TIMES: Final = (
    "17:28",
    "9am",
    "now",
    "-5min",
    "2h ago",
    "1h30m",
    "today",
    "yesterday",
    "yesterday 17:28",
    "monday",
    "monday 9:00",
    "last week",
    "last month",
    "last night",
    "2026-11-03",
    "2026-11-03 09:30",
    "2026-11-03T09:30Z",
    "jan 31",
    "monday 14:00..16:00",
    "2h..1h",
)
QUESTIONS: Final = (
    ("Who is in now, and was it for over an hour?", "status:active duration:>1h"),
    ("Who was in when it broke?", 'at:"thursday 14:00..14:30" host:web*'),
    ("What ended badly last night?", 'ended:"last night" status:crashed,lost'),
    ("When was Ada root?", "user:ada account:root"),
    ("What did agents do for a ticket?", "actor:agent reason:OPS-7"),
    ("Which sessions nobody works in?", "status:active idle:>2h"),
    ("Anything with these words, not on the test machines", "rollback -host:test*"),
    ("Which of the older release?", "metadata.version:1.*"),
)
OPTIONS: Final = {"session_type": "type", "username": "user"}
_HEAD: Final = """\
# Queries

*This page is made of the parser's own tables: `./dev report`.*

Which sessions are meant is said in the same way on the command line and by agents (`list_sessions`,
argument `query`):

```
user:ada -status:active component:mahavishnu,shop host:web* at:"tuesday 14:00..16:00" duration:>1h rollback
```

- Terms that stand side by side must all fit. A comma is *or*, `-` before a term is *not*.
- A value is the whole text, letter case included. `*` at an end stands for any text, `*` alone for anything
  that is known: `-parent:*` are the sessions that were started from no other.
- Quotes hold what has blanks, commas or stars in it: `host:"web 1"`, `"schema change"`; within them, `\\"`
  is a quote.
- Words alone are looked for, in any letter case, in person, account, sudo's user, machine, component,
  agent, reason, folder, terminal, address, and all values of the metadata.
- On a command line, an argument is one term, blanks included, since the shell has taken the quotes:
  `session-buddy list-sessions reason:"schema change"`. One with a key or a `-word` further on is a query by
  itself: `'host:web1 -rollback'`. What a shell would read itself is quoted for it: `'duration:>1h'`,
  `'host:web*'`. A negated word alone could be an option, and stands behind `--`:
  `session-buddy list-sessions -- -rollback`.
- Where nothing is found, the terminal shows how the query was understood.

| question | query |
|---|---|
"""
_KEYS: Final = """
## Keys

| key | looks at | values | e.g. |
|---|---|---|---|
"""
_REASON: Final = """
`reason:` looks for words as blanks and punctuation (but `-` and `_`) part them: `reason:OPS-7` finds
`OPS-7: rollback`, not `OPS-77`. `user:` finds whom any evidence names; [identity](identity.md) says which
there is. `metadata.region.name` leads into an object, a name with a dot in it is quoted, `metadata."x.y"`;
in a list, one text has to fit, or begin so. A star stands for letters of a text, not of a number. Where
nobody counts, a session has no `commands`, `errors` or `idle`. Where a session's own clock was wrong,
`started`, `ended` and `at` mean when it came in.
"""
_TIMES: Final = """
## Times

Times are local, of the machine where they are typed, in every command; with `--utc`, and for agents, they
are UTC. What has no form of these is tried as English prose. At {now:%H:%M} on {now:%A, %d %B %Y}:

| written | `at:` that |
|---|---|
"""
_SPANS: Final = """
`started:monday` is within that day, `started:>monday` after it, `started:>=monday` from its beginning on. A
span may be open, `started:monday..`, and its end takes the day of its beginning, or the next.

## The same as options

| option | term |
|---|---|
"""
_MORE: Final = """\
| `--active` | `status:active` |
| `--incomplete` | `exit:process_gone,outbox_recovered,lease_expired` |

"""
_ORDER: Final = (
    "An option that names something may be given twice: *or*. `--sort` takes {sorts}: the newest, longest,"
    " busiest first, names from A on, unknown ones last; `--reverse` is the other way round. `--columns`"
    " takes {columns}; and the names of keys: `user`, `host`."
)


def page() -> str:
    """The whole page."""
    questions = "".join(f"| {question} | `{query}` |\n" for question, query in QUESTIONS)
    keys = "".join(
        f"| `{key.name}` | {key.looks_at} | {VALUES[key.kind]} | `{key.example}` |\n" for key in KEYS
    )
    times = "".join(f"| `{text}` | {_meant(text)} |\n" for text in TIMES)
    options = "".join(_option(name) for name in FILTERS)
    order = fill(_ORDER.format(sorts=_listed(SORTS), columns=_listed(FIELDS)), 120, break_on_hyphens=False)
    head = f"{_HEAD}{questions}{_KEYS}{keys}{_REASON}"
    return f"{head}{_TIMES.format(now=NOW)}{times}{_SPANS}{options}{_MORE}{order}\n"


def examples() -> list[str]:
    """All queries that the page shows."""
    return [*(query for _, query in QUESTIONS), *(key.example for key in KEYS)]


def _meant(text: str) -> str:
    span = parse_overlap("at", text, NOW, NOW.tzinfo)
    begin, end = (time.astimezone(NOW.tzinfo) for time in (span.after or NOW, span.before or NOW))
    moment = (end - begin).total_seconds() < 1
    return f"{begin:%a %Y-%m-%d %H:%M}" if moment else f"{begin:%a %Y-%m-%d %H:%M} to {end:%a %Y-%m-%d %H:%M}"


def _option(name: str) -> str:
    value = {
        "since": "TIME",
        "last": "LENGTH",
        "until": "TIME",
        "at": "TIME",
        "status": "STATE",
        "search": "WORD",
    }.get(name, "NAME")
    key, prefix = FILTERS[name]
    term = f"{key}:{prefix}{value}" if key else value
    return f"| `--{OPTIONS.get(name, name)} {value}` | `{term}` |\n"


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
