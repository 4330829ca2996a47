"""Define what a recipe may ask for before its first stage: a list that is mined from a pool of unlabelled images."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from ssld.config.keys import key
from ssld.errors import RecipeError
from ssld.spec.choices import Assign
from ssld.spec.colours import Colour
from ssld.spec.ranges import Count, CountOrNone, Several, Share, Text, check_fields

LEAST_FOR_ALL = 0.01  # least probability that is recorded when assign is all
LIST, DONE = "mined.txt", "mining.json"  # files of a finished mining; the second is written last


@dataclass(frozen=True, kw_only=True)
class Mine:
    """Describe `ssld mine` as a step of a recipe. Paths are relative to the data folder."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    sources: Annotated[tuple[Text, ...], Several()]
    # This is a teacher of the recipe, a card of teachers/, the path of a card, or the folder of a run that trained one.
    teacher: Text
    against: Text  # list file of the validation images
    k: Count  # images that are chosen for each class
    min_score: Share = 0.0  # smallest probability of a chosen image
    assign: Assign = "best"  # an image serves its likeliest class, or all classes that give it min_score
    weights: Text | None = None  # a weights file that replaces the card's
    # This is the colour behind transparent pixels; null takes that of the teacher's input.
    background: Colour | None = key(None, later=True)
    engine: Text = key("eager", later=True, trains=False)  # the engine that computes the scores
    # So many validation images check the teacher before the first shard; 0 is off.
    gate: CountOrNone = key(2000, trains=False)


def check_mine(step: Mine, where: str) -> None:
    """Check the ranges of a step, and that it does not choose nearly all images for all classes.

    Raises RecipeError otherwise.
    """
    check_fields(step, where)
    if step.assign == "all" and step.min_score < LEAST_FOR_ALL:
        raise RecipeError(f"{where}min_score: {step.min_score} with assign all; give {LEAST_FOR_ALL:g} to 1")
