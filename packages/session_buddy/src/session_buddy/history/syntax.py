"""The text of a query, cut into its terms: ``user:ada -host:web*,db1 "schema change"``."""

import re
from collections.abc import Collection, Iterator
from typing import Final, NamedTuple

from session_buddy.errors import InvalidQuery

_NOT_HELD: Final = re.compile("[\0\ud800-\udfff]")
# A wildcard, until it is known where in the value it stands.
_STAR: Final = "\0"
_KEY: Final = re.compile(r'(metadata(?:\.(?:"(?:[^"\\]|\\.)*"|[^\s:".,]+))+|[A-Za-z_]+):')
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_PLAIN: Final = re.compile(r'[^\s"]+')
_ARGUMENT: Final = re.compile(r'[^"]+')
_NEGATED_FURTHER_ON: Final = re.compile(r"\s-[^\W\d]")
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
_TO_ESCAPE: Final = re.compile(r'(["\\])')
# What is written without quotes and read as it is.
_SAFE: Final = re.compile(r"\w[\w.@+/-]*")
_REGULAR_EXPRESSION: Final = re.compile(
    r"^=?~|^\^|\\[dswb][+?{]|\[[^\[\]]+\][+*]|\w-?\[[^\[\]]+\]|\.[*+?].|\([^()|]*\|[^()]*\)", re.DOTALL
)
# Of words alone, where a star at an end says nothing.
_REGULAR_WORD: Final = re.compile(r"\.[*+?]$")
_SQL: Final = re.compile(
    r"WHERE|LIKE|BETWEEN|(?i:and|or|not|select|select\s.*\sfrom\s.*)"
    r"|[A-Za-z_.]+(=|!=|<>|<|>).*|[=;(%].*|!=.*",
    re.DOTALL,
)
_NO_REGULAR_EXPRESSION: Final = (
    "regular expressions are not understood; a `*` at an end stands for any text, as in host:web*; quoted it"
    " is what it says"
)
_NO_SQL: Final = (
    "this is no SQL: terms that all must fit stand side by side, a comma is or, `-` is not, as in"
    " user:ada,bob -status:active; quoted it is a word"
)
_NO_SINGLE_QUOTES: Final = 'quotes are ", as in "schema change"; quoted it is what it says'
_NO_KEY_BEFORE: Final = re.compile(r":[^:\s]")
_NO_KEY: Final = "a key is missing before the colon; quoted it is a word"
_NOTHING_NEGATED: Final = "`-` stands before what is not looked for, without a blank; quoted it is a word"


class Value(NamedTuple):
    """One of the texts that a term looks for, and whether a ``*`` stood before or behind it."""

    text: str
    any_before: bool = False
    any_behind: bool = False

    @property
    def anything(self) -> bool:
        """Whether it was a ``*`` alone."""
        return not self.text and (self.any_before or self.any_behind)

    def __str__(self) -> str:
        """As a query has it; quoted where it would be read as something else.

        >>> str(Value("schema change", any_behind=True))
        '"schema change"*'
        """
        if self.anything:
            return "*"
        plain = _SAFE.fullmatch(self.text) and ".." not in self.text
        plain = plain and not (_SQL.fullmatch(self.text) or _REGULAR_EXPRESSION.search(self.text))
        text = self.text if plain else '"' + _TO_ESCAPE.sub(r"\\\1", self.text) + '"'
        return "*" * self.any_before + text + "*" * self.any_behind


class Token(NamedTuple):
    """A term as it was written; ``place`` is that of its first letter, from 1, ``key`` empty for words alone.

    ``values`` are what commas separate, one at least; ``has_quotes``: some of it stood in quotes.
    """

    place: int
    negated: bool
    key: str
    values: tuple[Value, ...]
    has_quotes: bool = False

    @property
    def is_plain_word(self) -> bool:
        """Whether it is a word alone, without quotes."""
        return not self.key and not self.has_quotes


def cut(text: str) -> list[Token]:
    """The terms of a query, in their order.

    Raises:
        InvalidQuery: a quote that nothing closes, a term without a value, another language; names the place.

    >>> [(token.key, [value.text for value in token.values]) for token in cut('user:ada,bob "schema change"')]
    [('user', ['ada', 'bob']), ('', ['schema change'])]
    """
    return list(_tokens(text))


def of_argument(argument: str, keys: Collection[str]) -> list[Token]:
    """The terms of one argument of a command, from which the shell has taken the quotes.

    What begins with a key is one term, blanks included, and so is what has no key; an argument with quotes of
    its own, or with a key or ``-word`` further on, is a query by itself.

    >>> [token.values[0].text for token in of_argument("reason:schema change", ("reason", "user"))]
    ['schema change']
    """
    argument = argument.strip()
    found = [match.start() for match in _KEY.finditer(argument) if match[1].partition(".")[0].lower() in keys]
    several = '"' in argument or _NEGATED_FURTHER_ON.search(argument)
    if several or any(place > argument.startswith("-") for place in found):
        return cut(argument)
    return [_term(argument, 0, _ARGUMENT)[0]] if argument else []


def values_of(key: str, text: str) -> tuple[Value, ...]:
    """The values of a filter that stands by itself; blanks are part of them.

    >>> [str(value) for value in values_of("host", "web*,db 1")]
    ['web*', '"db 1"']
    """
    return _term(f"{key}:{text.strip()}", 0, _ARGUMENT)[0].values


def path_of(key: str) -> tuple[str, ...]:
    r"""The names that lead to a value within metadata.

    >>> path_of('metadata.region."x.y"')
    ('region', 'x.y')
    """
    parts = re.findall(r'\.(?:"((?:[^"\\]|\\.)*)"|([^".]+))', key)
    return tuple(_ESCAPED.sub(r"\1", quoted) or plain for quoted, plain in parts)


def _tokens(text: str) -> Iterator[Token]:
    place = _behind_blanks(text, 0)
    while place < len(text):
        token, place = _term(text, place, _PLAIN)
        yield token
        place = _behind_blanks(text, place)


def _behind_blanks(text: str, place: int) -> int:
    return len(text) - len(text[place:].lstrip())


def _term(text: str, start: int, plain: re.Pattern[str]) -> tuple[Token, int]:
    """The term that begins at ``start``, and where it ends; ``plain`` may stand in it without quotes."""
    negated = text.startswith("-", start) and text[start + 1 : start + 2].strip() != ""
    key = _KEY.match(text, start + negated)
    place = key.end() if key else start + negated
    name = held(key[1]) if key else ""
    values = [""]
    while place < len(text):
        if quoted := _QUOTED.match(text, place):
            values[-1] += held(_ESCAPED.sub(r"\1", quoted[1]))
        elif text[place] == '"':
            raise InvalidQuery(f"query at {place + 1}", text[place : place + 20], 'no other " closes it')
        elif not (quoted := plain.match(text, place)):
            break
        else:
            # A comma parts values, not words alone.
            pieces = quoted[0].split(",") if name else [quoted[0]]
            for piece in pieces:
                _require_own_language(piece, name, place)
            first, *rest = (held(piece).replace("*", _STAR) for piece in pieces)
            values[-1] += first
            values += rest
        place = quoted.end()
    read = tuple(_value(value, name, start) for value in values)
    return Token(start + 1, negated, name, read, '"' in text[start:place]), place


def held(text: str) -> str:
    """A text that every database can be asked for; what none can hold is in no event, and finds nothing."""
    return _NOT_HELD.sub("\ufffd", text)


def _value(text: str, key: str, start: int) -> Value:
    bare = text.strip(_STAR)
    if not text and key:
        raise InvalidQuery(f"query at {start + 1}", f"{key}:", f"a value is missing, as in {key}:VALUE")
    if _STAR in bare:
        written = bare.replace(_STAR, "*")
        raise InvalidQuery(f"query at {start + 1}", written, "`*` stands at an end; quoted it is no wildcard")
    return Value(bare, text.startswith(_STAR), text.endswith(_STAR))


def _require_own_language(piece: str, key: str, place: int) -> None:
    """Refuse the syntax of SQL, regular expressions and the like, and say what to write instead."""
    said = None
    if _REGULAR_EXPRESSION.search(piece) or (not key and _REGULAR_WORD.search(piece)):
        said = _NO_REGULAR_EXPRESSION
    elif piece.startswith("'"):
        said = _NO_SINGLE_QUOTES
    elif not key and (_SQL.fullmatch(piece) or piece == "-" or _NO_KEY_BEFORE.match(piece)):
        said = {"-": _NOTHING_NEGATED, ":": _NO_KEY}.get(piece[0], _NO_SQL)
    if said:
        raise InvalidQuery(f"query at {place + 1}", piece, said)
