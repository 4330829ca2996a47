"""Read a colour, as recipes, cards, the command line and the readers of images name it."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from ssld.errors import UsageError
from ssld.spec.ranges import Rule


class AnyColour(Rule):
    """Ask for a colour in one of the forms that `colour_of` reads."""

    def accept(self, kind: Any, value: Any) -> Any:
        return colour_of(value)

    def told(self, kind: Any) -> str:
        return "3 integers from 0 to 255"


Colour: TypeAlias = Annotated[tuple[int, int, int], AnyColour()]  # red, green, blue
WHITE: Colour = (255, 255, 255)


def colour_of(value: Any) -> Colour:
    """Make a colour of three whole numbers 0..255, or of text: `#ff8000`, or a name of CSS as `white`.

    It raises ValueError, with what to give instead, for anything else.
    """
    if isinstance(value, str):
        from PIL import ImageColor  # it is imported late, for most recipes name no colour

        try:
            value = ImageColor.getrgb(value)
        except ValueError:
            value = None
    if not isinstance(value, (list, tuple)) or len(value) != 3 or not all(_is_level(part) for part in value):
        raise ValueError("is no colour; give three whole numbers from 0 to 255, '#rrggbb', or a name such as white")
    red, green, blue = value
    return red, green, blue


def colour_option(option: str, text: str) -> Colour:
    """Return the colour that an option of the command line names. It raises UsageError where the text names none."""
    try:
        return colour_of(text)
    except ValueError as error:
        raise UsageError(f"{option} {text}: {error}") from None


def _is_level(part: Any) -> bool:
    return type(part) is int and 0 <= part <= 255
