"""Name the augmentation policies that a recipe may have in `data.augment.auto`."""

from typing import Literal, get_args

Policy = Literal["none", "autoaugment", "randaugment"]

POLICIES: tuple[Policy, ...] = get_args(Policy)
