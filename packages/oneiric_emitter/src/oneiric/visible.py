"""Text from anywhere as people may be shown it: one line, in which nothing acts and nothing hides."""

import re
from typing import Final

# Unicode's control, format and surrogate characters and line separators (categories Cc, Cf, Cs, Zl, Zp), and
# those that are drawn as nothing: fillers, and the tags and selectors of plane 14.
INVISIBLE: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u115f\u1160\u17b4\u17b5"
    "\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ud800-\udfff\ufeff\uffa0\ufff0-\ufffb"
    "\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)


def visible(text: str) -> str:
    r"""``text`` with what is invisible in it written as Python would.

    >>> visible("red\x1b[31m\talert")
    'red\\x1b[31m\\talert'
    """
    return INVISIBLE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)
