"""The file formats of an export.

The command line, which counts its milliseconds, imports this: no pydantic here.
"""

from typing import Final, Literal, get_args

from session_buddy.history.keys import one_of

Form = Literal["csv", "json", "ndjson", "parquet"]
FORMS: Final[tuple[Form, ...]] = get_args(Form)
# How long making a file may take.
EXPORT_SECONDS: Final = 600.0
# The header in which a server tells how many sessions a file has.
SESSIONS_HEADER: Final = "X-Sessions"


def form_named(name: str) -> Form:
    """The form of this name.

    Raises:
        InvalidQuery: there is none; the nearest stands first.
    """
    word = one_of("format", name, FORMS)
    return next(form for form in FORMS if form == word)
