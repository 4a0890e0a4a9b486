"""The page that puts others' listings beside ours, docs/comparison.md: as data, so that each row is tried.

The sessions that rows name are those of ``packages/session_buddy/tests/test_comparison.py``.
"""

import sys
from pathlib import Path
from typing import Final, NamedTuple


class Row(NamedTuple):
    """One thing that another program can be asked, or can say.

    Attributes:
        theirs: as it is typed there, or as it is said.
        does: what that does, or means.
        ours: the command line that asks for the same, without ``session-buddy``; ``None``: there is none.
        finds: the sessions that it lists, by name, in their order, a blank between two.
        reason: why there is none; beside a command, how it differs.
        prints: what stands in its output, where that is the point of it.
    """

    theirs: str
    does: str
    ours: str | None = None
    finds: str = ""
    reason: str = ""
    prints: str = ""


def _none(theirs: str, does: str, reason: str) -> Row:
    return Row(theirs, does, reason=reason)


ALL: Final = "root live gone silent reboot lost agent hangup failed became left stopped"
JSON: Final = ("list-sessions user:bob --format json", '"username": "bob"')
CSV: Final = ("list-sessions --format csv", "session_id,person,person_evidence,")
TABLE: Final = ("list-sessions --format table --utc", "who ")
COLUMNS: Final = (
    "list-sessions --columns session_id,session_type,who,start_time,hostname",
    "-1b9d6bcd\tadmin_shell\tada (as root)\t2026-01-09T15:10:00+00:00\tweb1\n",
)
FEW: Final = ("list-sessions --columns who,status", "bob\tactive\n")
OTHER_FILE: Final = ("SESSION_BUDDY_DB_PATH=old.duckdb list-sessions", "-1b9d6bcd\t")
ZONE: Final = ("TZ=Asia/Tokyo list-sessions id:1b9d6bcd --format table", "01-10 00:10")
_HOW_ENDED: Final = "list-sessions --columns exit_reason,exit_code,signal,detected_by,clock_skew"
CODES: Final = (_HOW_ENDED, "\nsigterm\t143\t15\temitter\tfalse\n")
FINDERS: Final = (_HOW_ENDED, "\nprocess_gone\t-\t9\tliveness\tfalse\n")
CLOCKS: Final = (_HOW_ENDED, "\neof\t-\t-\temitter\ttrue\n")
SHOWN: Final = ("show-session 1b9d6bcd", "exit_reason\texit\n")
SHOWN_JSON: Final = ("show-session latest --format json", '"event_type": "session_end"')
FILE: Final = ("list-sessions --output all.ndjson", '"session_id": "shop-20260109-151000-1b9d6bcd"')
VERSION: Final = ("--version", "session-buddy 0")
LAST_OF_EACH: Final = (
    r"""list-sessions --limit 0 --columns username,start_time,hostname | awk -F'\t' '!seen[$1]++'""",
    "carol\t2026-01-07T23:00:00+00:00\tdb1\n",
)
NOT_SINCE: Final = (
    """list-sessions --limit 0 --columns username,start_time | awk '!seen[$1]++ && $2 < "2026-01-08"'""",
    "carol\t2026-01-07T23:00:00+00:00\ndeploy\t2026-01-06T14:00:00+00:00\n",
)
HOW_MANY: Final = (
    "list-sessions --limit 0 --columns username | sort | uniq -c",
    "3 carol\n",
)


def _run(theirs: str, does: str, run: tuple[str, str], reason: str = "") -> Row:
    return Row(theirs, does, run[0], prints=run[1], reason=reason)


_NO_BOOTS: Final = "boots are not recorded, sessions are"
_NO_LOGINS: Final = "a session begins with a shell: what refused a login has the log of that"
_NO_GROUPS: Final = "groups are not recorded: name the users"
_NO_CUT: Final = "nothing is cut in a pipe"
_NOT_TYPED: Final = "what is typed and printed is never recorded"
_ONLY_WATCHED: Final = "nobody's shell is ended, locked or signalled from here"
_NO_DNS: Final = "names of addresses are not looked up: they would be today's, not those of then"
_NO_NUL: Final = "no line end is within a row"
_NOT_REMOVED: Final = "single sessions are not removed, and a history is not edited"
_ONE_PERSON: Final = "a shell is one person's"

_LAST: Final = (
    Row(
        "`USER…`",
        "of these accounts",
        "list-sessions user:bob,carol",
        "silent reboot lost hangup became left",
    ),
    Row("`TTY…`", "at these terminals", "list-sessions tty:pts/0,tty1", "root live reboot lost failed"),
    _none("`USER TTY`", "either of them", "different keys must all fit: ask twice"),
    _none("`reboot`, `shutdown`", "when the machine was up", _NO_BOOTS),
    Row("`-N`, `-n N`, `--limit N`", "so many lines", "list-sessions --limit 2", "root live"),
    Row("without `-n`", "all", "list-sessions --limit 0", ALL, "50 unless said otherwise"),
    _run("`-a`, `--hostlast`", "host as last column", COLUMNS, "in the order in which they are named"),
    _none("`-d`, `--dns`", "the address's name", _NO_DNS),
    Row("`-i`, `--ip`", "the address", "list-sessions from:10.0.1.9", "lost", "always the address"),
    _run("`-f`, `--file FILE`", "another file", OTHER_FILE, "one at a time"),
    _run("`-F`, `--fulltimes`", "whole dates", COLUMNS, "whole but in the table"),
    _run("`--time-format iso`", "times as ISO 8601", CSV),
    _run("`--time-format short`", "times in short", TABLE),
    _run("`--time-format full`", "times with weekday and second", COLUMNS, "without the weekday"),
    _run("`--time-format notime`", "no times", FEW),
    _run("`-R`, `--nohostname`", "no host", FEW),
    Row("`-s`, `--since TIME`", "come since", "list-sessions --since yesterday", "root live gone silent"),
    Row(
        "`-t`, `--until TIME`",
        "the state as of then",
        "list-sessions --until tuesday",
        "agent hangup failed became left stopped",
        "come until then; how they ended is told as it is known now",
    ),
    Row(
        "`-p`, `--present TIME`",
        "in at a time",
        'list-sessions --at "tuesday 14:30"',
        "agent",
        "also for a span",
    ),
    _run("`-T`, `--tab-separated`", "tabs between columns", COLUMNS, "always in a pipe"),
    _run("`-w`, `--fullnames`", "whole names", COLUMNS, _NO_CUT),
    _none("`-x`, `--system`", "shutdowns, run levels, clocks that were set", _NO_BOOTS),
    _none("Ctrl-C, SIGQUIT", "how far it has read", "an answer comes whole"),
    Row(
        "“wtmp begins …”",
        "since when there are records",
        "list-sessions --reverse --limit 1",
        "stopped",
        "the oldest",
    ),
    Row(
        "`YYYY-MM-DD hh:mm:ss`",
        "a time",
        'list-sessions --since "2026-01-08 20:00:00"',
        "root live gone silent",
        "seconds, time of day, or date may be left out",
    ),
    Row(
        "`hh:mm`",
        "today's",
        "list-sessions --since 9:00",
        "root live",
        "the last there was: perhaps yesterday's",
    ),
    Row("`-5days`", "so long ago", "list-sessions --since -3days", "root live gone silent reboot lost"),
    Row(
        "`now`, `today`, `yesterday`",
        "a time",
        "list-sessions started:yesterday",
        "gone silent",
        "here the whole day",
    ),
    _none("`tomorrow`, `+5min`", "times to come", "refused: nothing has happened then"),
    _none("`YYYYMMDDhhmmss`", "a time", "refused, with what is understood: `2026-01-31 09:30`"),
    _none("`lastb` and all options", "logins that failed", _NO_LOGINS),
    _run("`-h`, `-V`", "help, version", VERSION, "`-h`, `--version`"),
)
_LSLOGINS: Final = (
    _run("no option", "each account, with its last login", LAST_OF_EACH, "of those who were ever in"),
    _run("`-L`, `--last`", "last login of each", LAST_OF_EACH),
    Row("`USER`", "all about one", "list-sessions user:carol", "reboot lost left"),
    Row("`-l`, `--logins=A,B`", "by name or number", "list-sessions uid:0,998", "root agent"),
    _none("`-g`, `--groups`; `-G`, `--supp-groups`", "by, and with groups", _NO_GROUPS),
    Row("`-s`, `--system-accs`", "accounts of services", "list-sessions uid:1..999", "agent"),
    Row(
        "`-u`, `--user-accs`",
        "accounts of people",
        'list-sessions "uid:>=1000"',
        "live gone silent reboot lost hangup failed became left stopped",
    ),
    _none("`-f`, `--failed`; `--btmp-file`", "last failed login", _NO_LOGINS),
    _none("`-a`, `-p`, `-Z`", "expiry, password, SELinux", "of accounts, not of sessions"),
    _none("PROC", "how many processes", "a session is one process; its children are not looked at"),
    _run("`-o`, `--output A,B`", "these columns", FEW),
    _none(
        "`-o +A`", "a column more", "`--columns` names all that are wanted, `--columns help` all there are"
    ),
    _run("`--output-all`", "all columns", CSV),
    _run("`-J`, `--json`", "JSON", JSON),
    _run("`-c`, `-r`, `-n`", "colons, raw, a line each", COLUMNS, "tabs in a pipe"),
    _none("`-z`, `--print0`", "NUL between", _NO_NUL),
    _run("`-e`, `--export`; `-y`, `--shell`", "`NAME=value`", SHOWN, "of one session, a tab between"),
    _run("`--noheadings`", "no headings", COLUMNS, "a pipe has none; csv always"),
    _run("`--notruncate`", "nothing cut", COLUMNS, _NO_CUT),
    _run("`--time-format`", "form of times", COLUMNS, "ISO 8601, but in the table"),
    _run("`--wtmp-file`, `--lastlog`, `--lastlog2-file`", "other files", OTHER_FILE),
    Row("`lastlog -u USER`", "the last of one", "list-sessions user:bob --limit 1", "silent"),
    Row("`lastlog -t DAYS`", "who was in since", "list-sessions --last 2d", "root live gone silent reboot"),
    _run("`lastlog -b DAYS`", "who was not in since", NOT_SINCE, "of those who ever were"),
    _none("`lastlog -C`, `-S`", "clear, set", _NOT_REMOVED),
    _none("exit code 1", "no such user", "that is no error: 0; `grep -q .` behind it tells"),
)
_LOGINCTL: Final = (
    Row("`list-sessions`", "who is in", "who", "live silent"),
    _run(
        "`session-status ID`",
        "one, for people",
        SHOWN_JSON,
        "on a terminal without `--format`; its events, no journal, no processes",
    ),
    Row(
        "`session-status`",
        "the caller's own",
        "show-session 9f2c1a77",
        "live",
        "`%session` at the prompt; `ONEIRIC_SESSION_ID` has the id for what it starts",
    ),
    _run("`show-session ID`", "one, for programs", SHOWN),
    Row("`show-session ID ID`", "several", "list-sessions id:1b9d6bcd,9f2c1a77", "root live"),
    _none("`show-session`", "the manager's properties", "of the server, `mcp status` tells"),
    _run("`-p`, `--property`; `-P`, `--value`", "some properties; without names", FEW, "`id:` for one"),
    _run("`-a`, `--all`", "also empty ones", JSON, "`-` or `null` where unknown"),
    _run("`-l`, `--full`", "nothing cut", COLUMNS, _NO_CUT),
    _run(
        "`list-users`",
        "who is in, a line each",
        ("who | cut -f9 | sort -u", "ada\nbob\n"),
    ),
    Row("`user-status`, `show-user USER`", "a user's sessions now", "who user:bob", "silent"),
    _none(
        "`list-seats`, `seat-status`, `show-seat`, `attach`, `flush-devices`", "seats", "no shell has a seat"
    ),
    _none("`-n`, `--lines`; `-o`, `--output`", "lines of the journal", "no journal is read"),
    _run("`-j`, `--json`", "JSON", JSON),
    _run("`--no-legend`", "no header, no count", COLUMNS, "a pipe has neither"),
    _none("`--no-pager`, `--no-ask-password`", "no pager, no question", "there is none"),
    Row(
        "`-H`, `--host HOST`",
        "another machine",
        "who host:web1",
        "live",
        "where it reports to the same server",
    ),
    _none("`-M`, `--machine`", "a container", "column `origin` names it; there is no key for it"),
    _none("`-s`, `--signal`; `--kill-whom`", "of commands that act", _ONLY_WATCHED),
    _none(
        "`terminate-*`, `kill-*`, `lock-*`, `unlock-*`, `activate`, `*-linger`", "act on it", _ONLY_WATCHED
    ),
    _run("`-h`, `--version`", "help, version", VERSION),
)
_AULAST: Final = (
    Row("`USER`", "of one", "list-sessions user:carol", "reboot lost left"),
    Row(
        "`TTY`",
        "a part of the name is enough",
        'list-sessions "tty:*pts*"',
        "root live gone silent lost hangup failed",
    ),
    Row("oldest first", "the order", "list-sessions --reverse --limit 3", "stopped left became"),
    _none("`--bad`", "logins that failed", _NO_LOGINS),
    _run("`--proof`", "the events behind a line", SHOWN_JSON, "who found its end, and how: `detected_by`"),
    _run(
        "`--extract`",
        "the records, into a file",
        FILE,
    ),
    _run("`-f FILE`", "another log", OTHER_FILE),
    _none("`--stdin`", "records from a pipe", "events come from shells: over MCP, or from their journals"),
    _none("`--debug`", "records left out", "none is: what is not valid is refused when it comes"),
)
_TELEPORT: Final = (
    Row("`sessions ls`", "who is in", "list-sessions --active", "live silent"),
    Row("`--kind ssh,k8s,db,…`", "of a kind", "list-sessions --type repl", "left", "or `--component`"),
    _run("`-f`, `--format text`", "for people", TABLE),
    _run("`--format json`", "for programs", JSON),
    _none("`--format yaml`", "for programs", "JSON is YAML"),
    Row(
        "`recordings ls`",
        "what is over",
        "list-sessions -status:active --limit 3",
        "root gone reboot",
        _NOT_TYPED,
    ),
    Row(
        "`--from-utc`, `--to-utc DATE`",
        "from, to",
        "list-sessions --since 2026-01-06 --until 2026-01-07 --utc",
        "reboot lost agent hangup",
    ),
    Row(
        "neither",
        "the last 24 hours",
        "list-sessions --last 24h",
        "root live gone silent",
        "else the newest 50",
    ),
    Row("`--last 5h30m40s`", "so far back", "list-sessions --last 5h30m40s", "root live"),
    Row("`--limit N`", "at most so many", "list-sessions --limit 2", "root live"),
    _run("ID, Type, Participants, Hostname, Timestamp", "its columns", COLUMNS),
    _none("Participants", "several in one", _ONE_PERSON),
    _none("`play`, `export`, `recordings download`", "the recording", _NOT_TYPED),
    Row(
        "`tctl recordings search`",
        "search in words",
        "list-sessions rollback",
        "live",
        "in who, where and why",
    ),
    _none(
        "`--proxy`, `--user`, `-i`, `--cluster`",
        "which server, as whom",
        "`SESSION_BUDDY_MCP_ENDPOINT`, a token",
    ),
    _none("`join`", "look on, take part", _ONLY_WATCHED),
)
_SUDOREPLAY: Final = (
    Row("`user NAME`", "who ran sudo", "list-sessions user:ada account:root", "root"),
    Row("`runas USER`", "as whom", "list-sessions account:root", "root"),
    _none("`group`, `runas GROUP`", "as which group", _NO_GROUPS),
    Row("`host NAME`", "on which machine", "list-sessions host:db1", "reboot lost left"),
    Row("`tty NAME`", "at which terminal", "list-sessions tty:tty1", "reboot"),
    Row("`cwd DIR`", "in which folder", "list-sessions folder:/srv/shop", "live silent failed"),
    Row(
        "`command REGEX`",
        "what was run",
        "list-sessions shell:REPL",
        "left",
        "which shell; commands are counted, not kept",
    ),
    Row("`fromdate`", "since", 'list-sessions "started:>=2 hours ago"', "root live"),
    Row("`todate`", "until", 'list-sessions "started:<5 Jan 2026"', "left stopped"),
    Row("`and`, side by side", "both", "list-sessions user:bob host:web1", "hangup"),
    Row(
        "`or`",
        "either",
        "list-sessions host:web2,db1",
        "silent reboot lost agent became left stopped",
        "of one key",
    ),
    _none("`or` of two keys", "either", "different keys must all fit: ask twice"),
    Row("`!`", "not", 'list-sessions "-host:web*" --limit 2', "reboot lost"),
    Row("`!` before words", "not", 'list-sessions host:web1 "reason:*" -- -rollback', "failed", "after `--`"),
    _none("`( … )`", "groups", "all terms must fit; commas within one are either"),
    _none("`u` for `user`", "words in short", "refused, with the nearest key; shells complete them"),
    _none("`9/17/2009`, `10`", "dates in short", "refused: `2009-09-17`, and `17 sep 2009`, are understood"),
    _none("`next Friday`", "days to come", "refused: nothing has happened then"),
    Row("order", "by id", "list-sessions --sort duration --limit 2", "silent stopped", "`--sort` has ten"),
    _run("`-d`, `--directory`", "other logs", OTHER_FILE),
    _none("`-f`, `-F`, `-m`, `-n`, `-R`, `-s`, `-S`, `ID@OFFSET`", "replay", _NOT_TYPED),
    _run("`-h`, `-V`", "help, version", VERSION),
)
_ATUIN: Final = (
    Row(
        "`search QUERY…`",
        "words of commands",
        "list-sessions OPS-7 rollback",
        "live",
        "of who, where and why",
    ),
    Row(
        "`-c`, `--cwd DIR`; `list -c`", "in a folder", "list-sessions folder:/srv/shop", "live silent failed"
    ),
    Row("`--exclude-cwd DIR`", "not there", 'list-sessions "-folder:/srv/*" --limit 2', "root gone"),
    Row(
        "`list -s`, `--session`", "of this shell", "show-session 9f2c1a77", "live", "by `ONEIRIC_SESSION_ID`"
    ),
    Row("`-e`, `--exit N`", "exit code", "list-sessions exit:1", "failed"),
    Row("`--exclude-exit N`", "another one", 'list-sessions "exit:>0" -exit:1', "agent hangup"),
    Row("`-b`, `--before TIME`", "until", "list-sessions --until monday", "failed became left stopped"),
    Row("`--after TIME`", "since", 'list-sessions --since "last night"', "root live gone silent"),
    Row("`--limit N`", "at most so many", "list-sessions --limit 2", "root live"),
    Row(
        "`--offset N`",
        "the next ones",
        'list-sessions --limit 2 "started:<2026-01-09T15:00Z"',
        "gone silent",
        "by the last one's start; agents have a cursor",
    ),
    Row("`-r`, `--reverse`", "oldest first", "list-sessions --reverse --limit 2", "stopped left"),
    Row("`--author NAME`", "by whom", 'list-sessions "agent:claude*"', "agent"),
    Row("`--author $all-agent`", "by programs", "list-sessions --actor agent", "agent"),
    Row("`--author $all-user`", "by people", "list-sessions actor:human host:web2", "silent became stopped"),
    Row("`--shell NAME`", "of one shell", "list-sessions shell:REPL", "left"),
    _none("`--shell ''`", "of unknown shells", "the kind of shell is always known"),
    Row("`--filter-mode host`", "of this machine", "list-sessions host:db1", "reboot lost left"),
    Row(
        "`--filter-mode directory`", "of this folder", "list-sessions folder:/srv/shop", "live silent failed"
    ),
    Row("`--filter-mode session`", "and what it started", "list-sessions parent:9f2c1a77", "root"),
    Row("`--filter-mode global`", "of all", "list-sessions", ALL),
    _none("`--filter-mode session-preload`", "and all before it", "`--until` its start lists those"),
    Row(
        "`--filter-mode workspace`",
        "of a repository",
        'list-sessions "folder:/srv/shop*"',
        "live silent failed",
    ),
    Row("`--search-mode prefix`", "beginnings", 'list-sessions "host:db*"', "reboot lost left"),
    Row("`--search-mode fulltext`", "anywhere within", "list-sessions ROLL", "live"),
    _none(
        "`--search-mode fuzzy`, `skim`, `daemon-fuzzy`",
        "with letters left out",
        "whole, or with `*`; keys that are almost right are named in errors",
    ),
    _none(
        "`-i`, `--inline-height`, `--keymap-mode`",
        "search as one types",
        "answers are lists; shells complete names",
    ),
    _run("`--human`", "lengths for people", TABLE),
    _run("`--cmd-only`, `--format TEMPLATE`", "some fields", FEW, "tabs between"),
    _none("`--print0`", "NUL between", _NO_NUL),
    _run("`--tz`, `--timezone`", "another zone", ZONE, "`--utc` for UTC"),
    _run("`--result-file FILE`", "into a file", FILE),
    _none("`--include-duplicates`", "the same again", "no two sessions are the same"),
    _none("`--delete`, `--delete-it-all`, `history prune`, `dedup`", "remove", _NOT_REMOVED),
    Row("`history last`", "the last one", "show-session latest", "root"),
    _run("`stats`", "how many", HOW_MANY, "by any column"),
    _none("exit code 1", "none found", "that is no error: 0; `grep -q .` behind it tells"),
)
_WHO: Final = (
    Row("no option, `-s`", "who is in", "who", "live silent"),
    Row(
        "`-u`, `--users`", "idle, and pid", 'who "idle:>30m"', "silent", "pid: `list-sessions --columns pid`"
    ),
    _run("`-q`, `--count`", "names, and how many", HOW_MANY),
    _run("`-H`, `--heading`", "headings", TABLE, "and csv"),
    Row("`-m`, `am i`", "me", "who tty:/dev/pts/0 host:web1", "live", "`tty:$(tty)`, `host:$(hostname)`"),
    _none("`-b`, `-r`, `-t`", "boot, run level, clock that was set", _NO_BOOTS),
    _run("`-d`, `--dead`", "dead ones, with signal and code", CODES),
    _none("`-l`, `--login`; `-p`, `--process`", "terminals without login, init's", "no shells of ours"),
    _none("`-T`, `-w`, `--mesg`", "whether it takes messages", "nobody is written to"),
    Row("`--ips`", "addresses", 'who "from:10.0.0.*"', "live silent", "always the address"),
    _none("`--lookup`", "the address's name", _NO_DNS),
    Row("`-a`, `--all`", "all of it", "list-sessions", ALL),
    _run("`FILE`", "another file", OTHER_FILE),
)
_W: Final = (
    Row("`USER`", "of one", "who user:ada", "live"),
    _none("its first line", "uptime, load", "of the machine, not of sessions"),
    Row("USER, TTY, FROM, LOGIN@, IDLE", "its columns", "who", "live silent", "and why"),
    _none("WHAT", "what runs in it", "that a command runs is told, `busy` for idle; which one is not"),
    _none("JCPU, PCPU", "processor time", "not counted"),
    _run("`-h`, `--no-header`", "no headings", COLUMNS, "a pipe has none"),
    Row(
        "`-u`, `--no-current`",
        "whoever it runs as",
        "list-sessions user:ada host:web1 --limit 2",
        "root live",
    ),
    _run("`-s`, `--short`", "fewer columns", FEW),
    Row("`-f`, `--from`; `-i`, `--ip-addr`", "where from", "who from:10.0.0.6", "silent", "always shown"),
    _none("`-o`, `--old-style`", "no idle below a minute", "`<30s`, as exact as heartbeats are"),
    _none("`-c`, `--container`", "the container's uptime", "of the machine, not of sessions"),
    Row("`-t`, `--terminal`", "those at terminals", 'who "tty:*"', "live silent"),
    Row("`-p`, `--pids`", "process", "list-sessions pid:4321", "live", "key and column"),
    _run("`-n`, `--no-truncat`", "nothing cut", COLUMNS, _NO_CUT),
)
_ENDS: Final = (
    Row(
        "`last`, `aulast`: an end and a length",
        "a logout was written",
        "list-sessions status:ended",
        "root agent hangup became left stopped",
        "with the reason",
    ),
    Row(
        "`last`: “still logged in”",
        "no logout",
        "list-sessions status:active",
        "live silent",
        "seen, not assumed",
    ),
    Row(
        "`last`: “gone - no logout”",
        "nobody is there",
        "list-sessions exit:process_gone",
        "gone",
        "with its end",
    ),
    _none("`aulast`: “gone - no logout”", "its number came again", "ids do not come again"),
    Row(
        "`last`: “down”",
        "a shutdown in between",
        "list-sessions exit:sigterm,sighup",
        "agent hangup",
        "not told from other signals",
    ),
    Row(
        "`last`: “crash”",
        "a boot without a shutdown",
        "list-sessions exit:outbox_recovered",
        "reboot",
        "or of another container",
    ),
    _none("`last`, `aulast`: “still running”", "this boot", _NO_BOOTS),
    _run(
        "`last -x`: “old time”, “new time”; a length below 0",
        "the clock was set",
        CLOCKS,
        "lengths are true all the same",
    ),
    _none("`lastb`, `aulast --bad`, FAILED-LOGIN", "a login that failed", _NO_LOGINS),
    _none("`lslogins`: “Never logged in”", "no record", "who was never in is not known here"),
    _none("`loginctl`: “opening”", "being set up", "a session is there with its first event"),
    Row("`loginctl`: “online”, “active”", "there", "list-sessions --active", "live silent", "no foreground"),
    Row(
        "`loginctl`: “closing”",
        "left, processes remain",
        "list-sessions parent:9f2c1a77",
        "root",
        "what it started",
    ),
    _none("`loginctl`: “lingering”, “offline”", "of users", "who has no session is not in the list"),
    Row("`loginctl`: IdleHint", "nobody works", 'who "idle:>2h"', "silent", "by commands, not keys"),
    Row("`loginctl`: class, type", "kind", "list-sessions type:repl", "left"),
    Row(
        "`loginctl terminate-session`",
        "ended by another",
        "list-sessions exit:operator",
        "stopped",
        "if that was told",
    ),
    _run("`who -d`: “term=N exit=N”", "signal, exit code", CODES),
    Row(
        "`who -u`: “.”, “old”",
        "below a minute, above a day",
        'who "idle:<1m"',
        "live",
        "`<30s`, then how long",
    ),
    _none("Teleport: “pending”", "waits for company", _ONE_PERSON),
    Row("Teleport: “running”", "there", "list-sessions status:active", "live silent"),
    Row(
        "Teleport: “terminated”, `session.end`",
        "over",
        "list-sessions -status:active --limit 2",
        "root gone",
    ),
    _none("Teleport: `session.leave`", "one of many left", _ONE_PERSON),
    Row("Teleport: `client.disconnect`", "cut", "list-sessions exit:sighup", "hangup", "not why"),
    Row("Teleport: no `session.end`", "its node is gone", "list-sessions status:lost", "lost"),
    _none("Teleport: `session.rejected`", "refused", _NO_LOGINS),
    Row("sudo: `exit_value`", "exit code", "list-sessions exit:1", "failed"),
    _run("sudo: `signal`, `dumped_core`", "killed by", CODES, "a column; no core"),
    Row(
        "sudo: `run_time`",
        "how long",
        'list-sessions "duration:>4h"',
        "silent stopped",
        "by a clock that nobody sets",
    ),
    _none("sudo: `reject`, `alert`", "denied", _NO_LOGINS),
    Row(
        "sudo: a log that is not whole",
        "runs, or died",
        "list-sessions status:lost,crashed",
        "gone reboot lost failed",
    ),
    Row("sudo: suspended", "stopped, goes on", "list-sessions status:unreachable", "silent", "as if asleep"),
    Row("atuin: `exit`", "a command's code", 'list-sessions "errors:>0"', "live failed", "how many failed"),
    Row(
        "atuin: `exit` -1",
        "began, no end",
        "list-sessions --incomplete",
        "gone reboot lost",
        "told from active",
    ),
    _none("atuin: deleted", "removed", _NOT_REMOVED),
    Row("nobody else: exception", "one left the shell", "list-sessions exit:exception", "failed"),
    Row("nobody else: exit, or Ctrl-D", "how it was left", "list-sessions exit:exit,eof", "root left"),
    Row("nobody else: exec", "became another program", "list-sessions exit:exec", "became"),
    Row("nobody else: unreachable", "asleep, or cut off", "list-sessions status:unreachable", "silent"),
    Row(
        "nobody else: not heard from",
        "for too long",
        "list-sessions exit:lease_expired",
        "lost",
        "or wakes again",
    ),
    _run("nobody else: who found the end", "shell, server, outbox", FINDERS),
)
TABLES: Final = {
    "`last`, `lastb` (util-linux)": _LAST,
    "`lslogins` (util-linux), `lastlog`": _LSLOGINS,
    "`loginctl` (systemd)": _LOGINCTL,
    "`aulast` (audit)": _AULAST,
    "`tsh sessions ls`, `tsh recordings ls` (Teleport)": _TELEPORT,
    "`sudoreplay -l`": _SUDOREPLAY,
    "`atuin history list`, `atuin search`": _ATUIN,
    "`who` (coreutils)": _WHO,
    "`w` (procps)": _W,
    "Kinds of end, and states": _ENDS,
}
_HEAD: Final = """\
# Beside other programs

What others that list sessions can be asked, and how ours is asked it: each command, written without its
`session-buddy`, is tried by the tests on a history of twelve sessions. A dash says why there is none.
"""
_TABLE: Final = """
## {title}

| theirs | {what} | ours |
|---|---|---|
"""


def page() -> str:
    """The whole page."""
    tables = [
        _TABLE.format(title=title, what="means" if rows is _ENDS else "does") + "".join(map(_line, rows))
        for title, rows in TABLES.items()
    ]
    return _HEAD + "".join(tables)


def _line(row: Row) -> str:
    told = f"`{row.ours}`" if row.ours else "—"
    if row.reason:
        told += f"; {row.reason}" if row.ours else f" {row.reason}"
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in (row.theirs, row.does, told)) + " |\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
