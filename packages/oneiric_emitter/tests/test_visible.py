import sys
import unicodedata

from oneiric.visible import INVISIBLE, visible


def test_what_unicode_calls_invisible_is_shown() -> None:
    hidden = {"Cc", "Cf", "Cs", "Zl", "Zp"}
    every = (chr(code) for code in range(sys.maxunicode + 1))
    missed = [ascii(char) for char in every if unicodedata.category(char) in hidden and visible(char) == char]
    assert missed == []


def test_what_can_be_seen_stays_as_it_is() -> None:
    seen = "aß日本\u00a0\u3000é👩❤\ufe0f\u0301€\ue000"
    assert visible(seen) == seen
    letters = (chr(code) for code in range(sys.maxunicode + 1) if chr(code).isalnum())
    assert {char for char in letters if INVISIBLE.match(char)} == {"\u115f", "\u1160", "\u3164", "\uffa0"}


def test_each_is_told_from_each() -> None:
    assert visible("a\x1b\u202e\U000e0041\ud800\n") == r"a\x1b\u202e\U000e0041\ud800\n"
