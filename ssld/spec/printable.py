"""Text from outside, such as the name of a file or of a class, as it may be printed and written into a page.

A control character moves the cursor, colours a terminal or changes what it shows already; a character of direction
(Unicode's annex 9) makes the text after it read backwards; a line break makes a line that nobody wrote. Each becomes
its escape, `\\x1b` or `\\u202e`, as Python writes it.
"""

import re
import unicodedata
from html import escape

_CATEGORIES = ("Cc", "Cs", "Zl", "Zp")  # control characters, lone surrogates, separators of lines and of paragraphs
_DIRECTIONS = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")


class _Escapes(dict[int, str]):
    """It maps the code of a character to its escape where it needs one, and to itself elsewhere."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        hidden = unicodedata.category(character) in _CATEGORIES or unicodedata.bidirectional(character) in _DIRECTIONS
        self[code] = ascii(character)[1:-1] if hidden else character
        return self[code]


_ENDLESS = re.compile(r"([^\s:;]{200})[^\s:;]{800,}")  # no path that a person chose is longer than 1,000 characters
_LINE, _LINES = _Escapes(), _Escapes({ord("\n"): "\n"})


def printable(text: object) -> str:
    """Return a text as one line that can be printed."""
    return str(text).translate(_LINE)


def message(text: object) -> str:
    """Return the text of an error as one line that can be printed. A word that nobody reads to its end is cut."""
    return _ENDLESS.sub(r"\1...", printable(text))


def printable_lines(text: object) -> str:
    """Return a text that can be printed, with its line breaks."""
    return str(text).translate(_LINES)


def in_markup(text: object) -> str:
    """Return a text as one line that can stand in HTML and SVG, also between quotes."""
    return escape(printable(text))


def in_markup_lines(text: object) -> str:
    """Return a text that can stand in HTML and SVG, with its line breaks."""
    return escape(printable_lines(text))


def in_markdown(text: object) -> str:
    """Return a text as one line that can stand in Markdown, in a heading as in a table: it holds neither HTML nor the
    end of a cell.
    """
    return printable(text).replace("<", "&lt;").replace("|", "\\|")


def in_code(text: object) -> str:
    """Return a text as one line that can stand between the backticks of Markdown."""
    return printable(text).replace("`", "\\x60")
