"""The augmentation policies that a recipe may name in `data.augment.auto`."""

from typing import Literal, get_args

Policy = Literal["none", "autoaugment", "randaugment"]

POLICIES: tuple[Policy, ...] = get_args(Policy)
