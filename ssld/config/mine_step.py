"""Define what a recipe may ask for before its first stage: a list that is mined from a pool of unlabelled images."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from ssld.config import parse
from ssld.config.keys import key
from ssld.errors import RecipeError
from ssld.spec.choices import Assign
from ssld.spec.colours import Colour

LEAST_FOR_ALL = 0.01  # least probability that is recorded when assign is all
LIST, DONE = "mined.txt", "mining.json"  # files of a finished mining; the second is written last


@dataclass(frozen=True, kw_only=True)
class Mine:
    """Describe `ssld mine` as a step of a recipe. Paths are relative to the data folder."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    sources: tuple[str, ...]
    # This is a teacher of the recipe, a card of teachers/, the path of a card, or the folder of a run that trained one.
    teacher: str
    against: str  # list file of the validation images
    k: int  # images that are chosen for each class
    min_score: float = 0.0  # smallest probability of a chosen image
    assign: Assign = "best"  # an image serves its likeliest class, or all classes that give it min_score
    weights: str | None = None  # a weights file that replaces the card's
    # This is the colour behind transparent pixels; null takes that of the teacher's input.
    background: Annotated[Colour, parse.Colours] | None = key(None, later=True)
    engine: str = key("eager", later=True, trains=False)  # the engine that computes the scores
    gate: int = key(2000, trains=False)  # validation images that check the teacher before the first shard; 0 is off


def check_mine(step: Mine, where: str) -> None:
    """Check that the numbers of a step choose images, and not too many. Raises RecipeError otherwise."""
    if step.k < 1:
        raise RecipeError(f"{where}k: {step.k} is out of range; give a whole number from 1 up")
    least = LEAST_FOR_ALL if step.assign == "all" else 0.0
    if not least <= step.min_score <= 1:
        raise RecipeError(f"{where}min_score: {step.min_score} with assign {step.assign}; give {least:g} to 1")
    if step.gate < 0:
        raise RecipeError(f"{where}gate: {step.gate} is out of range; give a number of images, or 0 for none")
