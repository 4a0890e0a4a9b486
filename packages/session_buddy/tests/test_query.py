"""What the text of a query means, and what is said of one that means nothing."""

from datetime import UTC

import pytest
from hypothesis import given
from hypothesis import strategies as st

from session_buddy.errors import InvalidQuery
from session_buddy.history.cursor import Cursor
from session_buddy.history.keys import NAMES
from session_buddy.history.query import MAX_VALUES, Clock, Query, filtered, terms_of
from session_buddy.history.syntax import of_argument
from tests.samples import MOMENT, asked

DAY = "2026-01-03 03:04:05.123456+00:00"


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("", ""),
        ("user:ada", "user:ada"),
        ("USER:ada", "user:ada"),
        ("user:ada,bob -status:active", "user:ada,bob -status:active"),
        ('host:"web 1",web*', 'host:"web 1",web*'),
        (r'"say \"hi\"" a\b', r'"say \"hi\"" "a\\b"'),
        ('host:"web*"', 'host:"web*"'),
        ('host:"a.+b"', 'host:"a.+b"'),
        ("host:*", "host:*"),
        ("component:my.app", "component:my_app"),
        ("tty:pts/3 tty:pts/* tty:/dev/x", 'tty:"/dev/pts/3" tty:"/dev/pts/"* tty:"/dev/x"'),
        ("status:Lost,UNREACHABLE", "status:lost,unreachable"),
        ("exit:sigterm,>0,1..5", "exit:sigterm,>0,1..5"),
        ("uid:0 commands:>=3 errors:<=2 pid:<9", "uid:0 commands:>=3 errors:<=2 pid:<9"),
        ("duration:>1.1h", "duration:>0d3960.000000s"),
        ("idle:120d..200d", "idle:120d0.000000s..200d0.000000s"),
        ("started:>2h", 'started:"2026-01-03 01:04:05.123457+00:00.."'),
        ("started:<2h", 'started:"..2026-01-03 01:04:05.123455+00:00"'),
        ("at:monday..", 'at:"2025-12-29 00:00:00+00:00.."'),
        ("at:..now", f'at:"..{DAY}"'),
        ("at:now", f'at:"{DAY}..{DAY}"'),
        ('metadata.region."x.y":1.*', 'metadata.region."x.y":1.*'),
        ("-rollback 10:30 a,b", '-rollback "10:30" "a,b"'),
        ("O'Brien /srv/app ::1", '"O\'Brien" "/srv/app" "::1"'),
    ],
)
def test_a_text_means_terms_and_is_written_so_that_it_means_them_again(text: str, meant: str) -> None:
    query = asked(text)
    assert str(query) == meant
    assert asked(meant).terms == query.terms


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("usr:ada", "query at 1: 'usr:' is not valid: no such key; the nearest is user; there are user, "),
        ("a zz:b", "query at 3: 'zz:' is not valid: no such key; there are"),
        ("metadata:x", "'metadata:' is not valid: which value"),
        ("a user:", "query at 3: 'user:' is not valid: a value is missing"),
        ("user:a,,b", "a value is missing"),
        ('user:"ada', "query at 6: '\"ada' is not valid: no other \" closes it"),
        ("host:we*b", "`\\*` stands at an end"),
        ("pid:43* ", "pid: '43\\*' is not valid: no `\\*` stands here"),
        ("status:act*", "status: 'act\\*' is not valid: no `\\*` stands here: one of active, ended, "),
        ("status:actve", "status: 'actve' is not valid: one of active, "),
        ("actor:humn", "actor: 'humn' is not valid: one of human, "),
        ("exit:sigtrm", "exit: 'sigtrm' is not valid: one of sigterm, "),
        ("uid:x", "uid: 'x' is not valid: a whole number, or >5"),
        ("commands:5..1", "LOW..HIGH, the lower one first"),
        ("commands:..", "LOW..HIGH"),
        ("duration:1h", "duration: '1h' is not valid: which side of it"),
        ("duration:>1", "the units are"),
        ("started:soon", "started: 'soon' is not valid: a time such as"),
        ("at:monday 9:00", 'query at 11: .*a time with a blank is quoted: at:"monday 9:00"'),
        ("from:10.0.0.0/8", "networks are not understood"),
        ("host:~web", "regular expressions are not understood"),
        ("host:(a|b)", "regular expressions are not understood"),
        ("^web", "regular expressions are not understood"),
        ("ops.*", "regular expressions are not understood"),
        ("reason:OPS-[79]", "regular expressions are not understood"),
        ("SELECT x", "this is no SQL"),
        ("user:ada OR user:bob", "query at 10: 'OR' is not valid: this is no SQL"),
        ("user='ada'", "this is no SQL"),
        ("host!=web1", "this is no SQL"),
        ("user:ada or user:bob", "query at 10: 'or' is not valid: this is no SQL"),
        ("'; DROP", "query at 1: .* quotes are ., as in"),
        ("reason:'schema change'", "query at 8: .* quotes are ., as in"),
        ("ada -", "query at 5: '-' is not valid: `-` stands before what is not looked for"),
        (":ada", "query at 1: ':ada' is not valid: a key is missing before the colon"),
        ('""', "a word that is looked for has letters"),
        ("started:>=2026-01-02 started:<2026-01-01", "since: .* it is not before until"),
        ("a " * (MAX_VALUES + 1), f"at most {MAX_VALUES}"),
        ("uid:" + ",".join("1" * (MAX_VALUES + 1)), f"query: '{MAX_VALUES + 1} values'"),
    ],
)
def test_what_means_nothing_is_told_with_its_place_and_what_is_meant(text: str, complaint: str) -> None:
    with pytest.raises(InvalidQuery, match=complaint):
        asked(text)


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["user:ada", "rollback"], "user:ada rollback"),
        (["reason:schema change"], 'reason:"schema change"'),
        (["reason:schema ch*"], 'reason:"schema ch"*'),
        (["schema change"], '"schema change"'),
        (["user:ada -status:active host:web*"], "user:ada -status:active host:web*"),
        (["rollback User:ada"], "rollback user:ada"),
        (["-status:active"], "-status:active"),
        (['user:"ada b" x'], 'user:"ada b" x'),
        (["at:monday 9:00"], 'at:"2025-12-29 09:00:00+00:00..2025-12-29 09:00:00+00:00"'),
        ([" "], ""),
        (["host:vm -OPS-7"], "host:vm -OPS-7"),
        (["at:now -5min"], 'at:"2026-01-02 02:59:05.123456+00:00..2026-01-02 02:59:05.123456+00:00"'),
        (["reason:OPS-7 - rollback"], 'reason:"OPS-7 - rollback"'),
    ],
)
def test_an_argument_of_a_command_is_one_term_unless_it_holds_several(
    arguments: list[str], meant: str
) -> None:
    clock = Clock(MOMENT, UTC)
    terms = [term for argument in arguments for term in terms_of(of_argument(argument, NAMES), clock)]
    assert str(Query(tuple(terms))) == meant


def test_words_beside_a_time_that_stand_in_quotes_are_words() -> None:
    query = asked(since="monday", search="9:30")
    assert asked(str(query)).terms == query.terms


def test_an_empty_filter_of_an_agent_is_none() -> None:
    assert asked(component="", since=None, status=" ").terms == ()


def test_a_filter_that_is_given_twice_is_or() -> None:
    assert filtered("host", ["web*", "db1,db2"], Clock(MOMENT)).written() == "host:web*,db1,db2"


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "odd", ["user:" + "(" * 1300 + "|" * 1300 + "x" * 1390, "[" * 4000, "host:" + '"a' * 2000, "-a " * 1300]
)
def test_no_text_takes_long_to_be_read(odd: str) -> None:
    with pytest.raises(InvalidQuery):
        asked(odd + '"')


@given(st.text(max_size=60), st.sampled_from(["", *NAMES]))
def test_any_text_means_something_or_is_refused_in_words(text: str, key: str) -> None:
    try:
        query = asked(f"{key}:{text}" if key else text)
    except InvalidQuery:
        return
    assert asked(str(query)).terms == query.terms


@given(st.text(min_size=1, max_size=30))
def test_a_text_in_quotes_is_found_as_it_is(text: str) -> None:
    quoted = '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    (term,) = asked(f"host:{quoted}").terms
    (value,) = term.wanted
    held = "".join("\ufffd" if one == "\0" or "\ud800" <= one <= "\udfff" else one for one in text)
    assert value == (held, False, False)


def test_a_cursor_names_a_place() -> None:
    place = Cursor(MOMENT, "shop-20260102-030405-1b9d6bcd")
    assert Cursor.parse(str(place)) == place
