"""Read a number as it looks, in YAML and on the command line: in decimal digits, and in no other way."""

from __future__ import annotations

import math
import re

LONGEST = 40  # most characters of a number; the longest that Python writes of a 64-bit number has 24
_DIGITS = r"\d+(?:_\d+)*"
_WHOLE = r"[-+]?(?:0|[1-9]\d*(?:_\d+)*)"
_FRACTION = rf"[-+]?(?:{_DIGITS}\.(?:{_DIGITS})?|\.{_DIGITS}|{_DIGITS}(?=[eE]))(?:[eE][-+]?\d+)?"
_ENDLESS = r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
# Readers of YAML 1.1 and 1.2 take these for different numbers, or one of them takes them for text: a leading zero,
# the bases 16, 8 and 2, and the base 60 (`1:30` is 90 there).
_DISPUTED = r"[-+]?0[\d_]+|[-+]?0x[\da-fA-F_]+|[-+]?0o[0-7_]+|[-+]?0b[01_]+|[-+]?\d[\d_]*(?::[0-5]?\d)+(?:\.[\d_]*)?"
_IS_WHOLE, _IS_FRACTION, _IS_ENDLESS, _IS_DISPUTED = (
    re.compile(pattern, re.ASCII) for pattern in (_WHOLE, _FRACTION, _ENDLESS, _DISPUTED)
)
PATTERN = re.compile(rf"(?:{_WHOLE}|{_FRACTION}|{_ENDLESS}|{_DISPUTED})\Z", re.ASCII)
"""What `number` reads or refuses. Every other text is no number."""


def number(text: str) -> int | float | None:
    """Return the number that a text is, or None where it is none.

    `10`, `1_000`, `.5` and `1e5` are numbers; `.inf` and `.nan` are the names of those that have no digits. It raises
    ValueError, with what to write instead, for what is a number in another base or with a leading zero to some readers
    of YAML, for more characters than LONGEST, and for what a float cannot hold.
    """
    if not PATTERN.match(text):
        return None
    if len(text) > LONGEST:
        raise ValueError(f"is a number of {len(text):,} characters; give {LONGEST} at most, or quote a text")
    if _IS_WHOLE.fullmatch(text):
        return int(text)
    if _IS_ENDLESS.fullmatch(text):
        return float(text.replace(".", ""))
    if not _IS_FRACTION.fullmatch(text):
        raise ValueError("means different numbers to different readers; write it in decimal digits, or quote a text")
    value = float(text)
    if math.isinf(value) or (value == 0 and re.search("[1-9]", re.split("[eE]", text)[0])):
        raise ValueError("is a number that is too large or too small to compute with; give another one")
    return value
