"""SSLD on PaddlePaddle: one command takes a recipe to a distilled, exported, measured student."""

import os
from pathlib import Path
from typing import Any

from ssld.spec.revisions import Revision

__version__ = "0.1.0"


def create_model(
    name: str, num_classes: int = 1000, in_size: int | None = None, revision: Revision | None = None
) -> Any:
    """Build the network of a published name, e.g. "ResNet50_vd_ssld", with fresh weights.

    The name's card says which architecture it is, and what `in_size` (pixels of evaluation) and `revision` (that of its
    published weights) are by default. Raises RecipeError for an unknown name or an option that does not hold.
    PaddlePaddle is imported by this call, not by `import ssld`.
    """
    from ssld.config import cards
    from ssld.models import create

    model = cards.find_model(name)
    size = model.input.size if in_size is None else in_size
    return create(model.arch, num_classes=num_classes, in_size=size, revision=revision or model.revision)


FAST_MKL = "MKL_DEBUG_CPU_TYPE"


def _use_fast_mkl_on_amd() -> None:
    """The MKL inside Paddle takes its slow path on AMD processors (about 3x slower convolutions) unless this is set.

    It has to be set before Paddle is imported, hence here. It is not set elsewhere: on Intel it would choose
    an older path. A value that the user has set stays, also an empty one. `ssld run` says which it is.
    """
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists() and "AuthenticAMD" in cpuinfo.read_text(encoding="utf-8", errors="replace"):
        os.environ.setdefault(FAST_MKL, "5")


_use_fast_mkl_on_amd()
