"""Damage every kind of file of a run, a label cache and a mined list in every way of `WAYS`, and repeat the command.

It must end with one line that names the file, or with what the undisturbed run has: the file is made anew, or nothing
needs it any more. Anything else would be a file that is used in silence.
"""

import re
import shutil
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from tests.campaign.commands import ssld
from tests.campaign.damage import WAYS, damage
from tests.campaign.kills import WORDS, assert_like_the_whole_run
from tests.campaign.small_run import OTHER, fresh_copy, run_words

RUN = "runs/whole"
_CHECKPOINT = ("average.safetensors", "manifest.json", "model.safetensors", "optimizer.safetensors", "state.json")


_EXPORT = ("contract.json", "model.json", "model.pdiparams")
_TABLES = ("mined.csv", "removed.csv", "unreadable.csv", "sheet.html")


@dataclass(frozen=True)
class Kind:
    """Describe a kind of file by a pattern.

    Before the command is repeated, what `without` names is removed, so that the file is needed. With `read_again`
    false, a file that nothing reads any more may stay damaged in silence.
    """

    pattern: str
    without: tuple[str, ...] = ()
    read_again: bool = True


END = (f"{RUN}/result.json", f"{RUN}/report.html")
LAST = (*END, f"{RUN}/stages/fix-*", f"{RUN}/stages/distill-*")
_TRAINED = (*END, f"{RUN}/stages/distill-*/stage.json", f"{RUN}/stages/distill-*/model.safetensors")
KINDS = [
    Kind(f"{RUN}/plan.yaml"),
    Kind(f"{RUN}/code/*/nets.py"),
    Kind(f"{RUN}/metrics.jsonl", LAST),
    Kind(f"{RUN}/result.json"),
    Kind(f"{RUN}/samples.npz"),
    Kind(f"{RUN}/bench.csv"),
    Kind(f"{RUN}/report.html", read_again=False),  # it is there for people; `ssld report` writes it anew
    *(Kind(f"{RUN}/{folder}/{name}") for folder in ("export", "teacher_export") for name in _EXPORT),
    *(Kind(f"{RUN}/stages/distill-*/{name}") for name in ("stage.json", "made_of.json", "model.safetensors")),
    Kind(f"{RUN}/stages/distill-*/model.facts.json", read_again=False),
    Kind(f"{RUN}/stages/teach-*/model.safetensors", LAST),
    Kind(f"{RUN}/stages/teach-*/stage.json", LAST),
    *(Kind(f"{RUN}/stages/distill-*/checkpoint-*/{name}", _TRAINED) for name in _CHECKPOINT),
    Kind("labels/*/manifest.json", LAST),
    Kind("labels/*/view-001/shard-*.labels", LAST),
    Kind("data/pool/job.json", LAST),
    Kind("data/pool/mining.json", LAST),
    Kind("data/pool/mined.txt", LAST),
    Kind("data/pool/scores-*/*.npz", ("data/pool/mining.json", "data/pool/mined.txt", *LAST)),
    *(Kind(f"data/pool/{name}", read_again=False) for name in _TABLES),
]  # fmt: skip


def make_other(place: Path) -> None:
    """Make a run of another seed and of another mining, whose files are swapped with those of the undisturbed run."""
    other = place / OTHER
    fresh_copy(place, other)
    done = ssld(*run_words("whole.yaml", RUN), "seed=1", "prepare.pool.k=2", place=other)
    assert done.code == 0, done.errors


def damaged(kind: Kind, ways: Collection[str] = tuple(WAYS)) -> Callable[[Path, Path], Counter[str]]:
    """Return the case that damages a kind of file."""

    def find(place: Path, own: Path) -> Counter[str]:
        met = Counter[str]()
        (file, *_) = sorted(place.glob(kind.pattern), reverse=True)  # of checkpoints, the newest
        other = next(iter(sorted((place / OTHER).glob(kind.pattern), reverse=True)), None)
        name = file.relative_to(place)
        for way in ways:
            copy = own / "copy"
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(place, copy, ignore=shutil.ignore_patterns(OTHER), symlinks=True)
            for pattern in kind.without:
                for path in copy.glob(pattern):
                    if path != copy / name:
                        shutil.rmtree(path) if path.is_dir() else path.unlink()
            if damage(copy / name, way, other):
                met[_answer(copy, place, name, kind.read_again, way)] += 1
        return met

    return find


def _answer(copy: Path, place: Path, name: Path, read_again: bool, way: str) -> str:
    """Repeat the command and return what became of the damaged file."""
    what, left = f"{name} {way}", _content(copy / name)
    done = ssld(*WORDS, place=copy)
    assert "Traceback" not in done.errors, f"{what}: {done.errors[-2000:]}"
    last = done.errors.rstrip("\n").splitlines()[-1]
    names = [name.name] if name.parent == Path(RUN) else [name.name, name.parent.name]
    is_named = any(re.search(rf"\b{re.escape(part)}", done.errors) for part in names)
    if done.code:
        assert done.code == 1, f"{what}: {done.code}"
        assert last.startswith("ssld run: "), f"{what}: {last}"
        assert is_named, f"{what} is not named: {last}"
        return "named, and nothing used"
    assert_like_the_whole_run(copy, place)
    if (now := _content(copy / name)) is not None and now != left:  # it may differ from what it was, in times
        return "made anew"
    if is_named:
        return "named, and made anew"
    assert not read_again, f"{what}: it was left as it is, in silence"
    return "read by nobody again"


def _content(file: Path) -> bytes | None:
    return file.read_bytes() if file.is_file() else None


CASES = {kind.pattern: damaged(kind) for kind in KINDS}
