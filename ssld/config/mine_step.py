"""What a recipe may ask for before its first stage: a list that is mined from a pool of unlabelled images."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from ssld.config import parse
from ssld.config.keys import key
from ssld.errors import RecipeError
from ssld.spec.choices import Assign
from ssld.spec.colours import Colour

LEAST_FOR_ALL = 0.01  # lower probabilities are not recorded
LIST, DONE = "mined.txt", "mining.json"  # what a mining leaves; the second comes last


@dataclass(frozen=True, kw_only=True)
class Mine:
    """`ssld mine` as a step of a recipe. Paths are relative to the data folder."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    sources: tuple[str, ...]
    # a teacher of the recipe, a card of teachers/, the path of one, or the folder of a run that trained its teacher
    teacher: str
    against: str  # list file of the validation images
    k: int  # images of a class
    min_score: float = 0.0  # smallest probability of a chosen image
    assign: Assign = "best"  # an image serves its likeliest class, or all that give it min_score
    weights: str | None = None  # a weights file, instead of the card's
    background: Annotated[Colour, parse.Colours] | None = key(
        None, later=True
    )  # the colour behind transparent pixels; null: that of the teacher's input
    engine: str = key("eager", later=True, trains=False)  # what computes the scores
    gate: int = key(2000, trains=False)  # validation images that check the teacher before the first shard; 0 is off


def check_mine(step: Mine, where: str) -> None:
    """RecipeError for numbers that choose nothing, or too much."""
    if step.k < 1:
        raise RecipeError(f"{where}k: {step.k} is out of range; give a whole number from 1 up")
    least = LEAST_FOR_ALL if step.assign == "all" else 0.0
    if not least <= step.min_score <= 1:
        raise RecipeError(f"{where}min_score: {step.min_score} with assign {step.assign}; give {least:g} to 1")
    if step.gate < 0:
        raise RecipeError(f"{where}gate: {step.gate} is out of range; give a number of images, or 0 for none")
