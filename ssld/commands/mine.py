"""Choose images of an unlabelled pool by a teacher, for a distillation: `ssld mine`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ssld.config.mine_step import Mine
from ssld.errors import RunError
from ssld.spec.choices import Assign, Device
from ssld.spec.colours import colour_option


def mine(
    *,
    source: Sequence[str],
    teacher: str,
    weights: str | None,
    against: str,
    k: int,
    min_score: float,
    assign: Assign,
    out: str,
    part: str,
    engine: str,
    gate: int,
    background: str | None,
    threads: int | None,
    device: Device,
    quiet: bool,
) -> dict[str, Any]:
    """Choose the `k` best images of each class from the images of `source`, by the probabilities of a teacher.

    Near-duplicates of the validation images in the list `against` are left out first. Transparent pixels lie on the
    colour `background`, by default that of the teacher's input. `part` is I/N: only every N-th shard from the I-th on
    is scored, and nothing is chosen. `quiet` hides the progress. It returns the list file and the sheet that were
    written, and how many images went which way; of a part that leaves something to do, it returns what is done. It
    raises RunError for options out of range, a teacher that cannot be used or a folder that holds another mining,
    RecipeError for numbers that choose nothing, DataError for sources that cannot be read.
    """
    number, _, count = part.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise RunError(f"--part {part}: give I/N with I from 1 to N, e.g. 2/4")
    from ssld.distill.teacher_mining import mine_pool
    from ssld.runtime import start

    step = Mine(
        sources=tuple(source),
        teacher=teacher,
        weights=weights,
        against=against,
        k=k,
        min_score=min_score,
        assign=assign,
        engine=engine,
        gate=gate,
        background=colour_option("--background", background) if background else None,
    )
    folder, share = Path(out), (int(number), int(count))
    done = mine_pool(step, Path(), folder, start(device), share, threads, quiet=quiet)
    if "list" not in done:
        return {**done}
    return {"list": str(folder / done["list"]), "sheet": str(folder / done["sheet"]), **done["counts"]}
