"""Times and texts from anywhere, as people read them."""

from oneiric.visible import visible


def from_to(begin: str, end: str) -> str:
    """Two times with a dash between them."""
    return f"{begin} \N{EN DASH} {end}"


def short(text: str, most: int) -> str:
    """A text from anywhere, of so many letters at most, with nothing invisible in it.

    >>> short("rollback", 9), short("rollback of the release", 9)
    ('rollback', 'rollback…')
    """
    return visible(text if len(text) <= most else f"{text[: most - 1]}…")
