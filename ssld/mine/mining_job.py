"""This module mines, from sources to a list, in one straight line.

shards -> score (each result named by the digest of what made it) -> choose -> list, tables, sheet, mining.json
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, TypedDict, cast

from ssld.config.keys import digested
from ssld.config.mine_step import DONE, LIST
from ssld.data import FileList
from ssld.errors import RunError
from ssld.files import (
    check_content,
    clear,
    copy_whole,
    damaged,
    first_difference,
    is_empty,
    json_digest,
    obstacle,
    read_json,
    sha256,
    write_json,
    writing,
)
from ssld.mine import candidates, duplicates, picture, results, topk
from ssld.mine.output import write_out
from ssld.mine.score import Teacher, score
from ssld.mine.select import IMAGES, Options, choose
from ssld.mine.sources import Shard
from ssld.mine.validation import Validation
from ssld.progress import Bar, note, progress

JOB = "job.json"
METHOD = 3  # the version of scoring; a change that moves a result raises it


class Mined(TypedDict, total=False):
    """Hold the main keys of mining.json, or those of a part of a mining.

    `list` and `sheet` are files of the output folder, `counts` has the number of images by what became of them. Of a
    part there are `out`, `part` (such as 1/4), the number of `shards`, and how many of them are left.
    """

    list: str
    sheet: str
    counts: dict[str, int]
    out: str
    part: str
    shards: int
    shards_left: int


@dataclass(frozen=True, kw_only=True)
class Job:
    """Say what is mined. With `part` (i, n) this process scores every n-th shard from the i-th on, counted from 1."""

    shards: list[Shard]
    teacher: Teacher
    against: FileList
    against_list: Path
    options: Options
    out: Path
    sources: list[str]
    part: tuple[int, int] = (1, 1)
    threads: int = 1
    quiet: bool = False

    def scored_by(self) -> dict[str, Any]:
        """Return everything that the result of a shard depends on, but for the shard itself."""
        return {
            "method": METHOD,
            "teacher": self.teacher.facts | {"input": digested(self.teacher.input), "classes": self.teacher.classes},
            "against": {"list": self.against_list.name, "sha256": sha256(self.against_list)},
            "thresholds": thresholds(),
        }

    def about(self) -> dict[str, Any]:
        """Return `scored_by` and what is chosen, with the digest of it all."""
        pool = json_digest([shard.identity for shard in self.shards])
        about = self.scored_by() | {"pool": pool, "options": asdict(self.options)}
        return {"digest": json_digest(about), **about}

    def files(self) -> list[Path]:
        """Return the result files of the shards.

        They are named by what they hold, so that another pool can use them too.
        """
        folder = self.out / f"scores-{json_digest(self.scored_by())[:8]}"
        return [folder / f"{json_digest(shard.identity)[:16]}.npz" for shard in self.shards]


def mine(job: Job) -> Mined:
    """Score what is not scored yet, choose, and write the list; return what mining.json holds.

    With a `part` of several, only the share of this process is scored, and the number of shards that are left is
    returned. Raises RunError when the output folder holds another mining or something else, DataError for a damaged tar
    and for a validation image that cannot be read.
    """
    open_folder(job)
    if (done := finished(job)) is not None:
        note(f"{job.out}: already mined")
        return done
    files = job.files()
    borrow(job, files)
    score_shards(job, files)
    shards_left = sum(not file.is_file() for file in files)
    if job.part[1] > 1:
        return {
            "out": str(job.out),
            "part": f"{job.part[0]}/{job.part[1]}",
            "shards": len(files),
            "shards_left": shards_left,
        }
    with progress(len(files), "select", quiet=job.quiet, unit="shard") as bar:
        choice = choose(files, job.teacher.classes, job.options, bar.update)
    names = job.teacher.names or [str(label) for label in range(job.teacher.classes)]
    about = job.about() | {"sources": job.sources, "counts": choice.counts}
    about |= write_out(about, choice, files, job.against, names, job.out, job.quiet)
    write_json(job.out / DONE, about)
    return cast(Mined, read_json(job.out / DONE, "repeat the command"))


def finished(job: Job) -> Mined | None:
    """Return what mining.json holds of a finished mining; None where work is left.

    Where mining.json is damaged or its list is lost, a line says so, and the images are chosen anew. Raises RunError
    for a list that was changed, because somebody may have meant to.
    """
    file = job.out / DONE
    if not file.exists():
        return None
    try:
        done = read_json(file, "")
        if done.get("digest") != job.about()["digest"]:
            raise damaged(file, "it is of another mining", "")
        listed = job.out / done["list"]
        if not listed.exists():
            raise RunError(f"{listed}: no such file")
    except RunError as error:
        note(f"{error}; the images are chosen anew")
        return None
    advice = "remove it, and the same command writes it anew; a list of your own needs another name"
    check_content(listed, done["list_sha256"], advice)
    return cast(Mined, done)


def open_folder(job: Job) -> None:
    """Make the output folder, or recognise it as this mining's own. Raises RunError for any other folder.

    A folder in which another mining was begun and nothing was scored, for example because its teacher failed, becomes
    this one's.
    """
    for file in (job.out / JOB, job.out / DONE, job.out / LIST, *job.files()):
        if what := obstacle(file):
            raise RunError(f"{file}: {what}; remove it, and repeat the command")
    about, kept = job.about(), kept_job(job) if job.out.exists() and not is_empty(job.out) else None
    is_ours = kept is not None and kept.get("digest") == about["digest"]
    if kept is not None and not is_ours and any(job.out.glob("scores-*/*.npz")):
        keys = [key for key in about if key != "digest"]
        difference = first_difference({key: about[key] for key in keys}, {key: kept.get(key) for key in keys})
        raise RunError(f"{job.out}: holds another mining{difference}; choose another --out")
    with writing(job.out, RunError, "choose another --out"):
        job.out.mkdir(parents=True, exist_ok=True)
        for folder in (job.out, *job.out.glob("scores-*"), *job.out.glob(f"{IMAGES}/*")):
            clear(folder)
        if not is_ours:
            write_json(job.out / JOB, about)
        job.files()[0].parent.mkdir(exist_ok=True)


def kept_job(job: Job) -> dict[str, Any] | None:
    """Return the mining that a folder holds, as `Job.about`; None where its job.json is to be written anew.

    A folder without a readable job.json is that of this mining where it has results that are scored as this one scores,
    and no mining.json of another one. Raises RunError for any other folder.
    """
    try:
        return read_json(job.out / JOB, "")
    except RunError as error:
        if not job.files()[0].parent.is_dir():
            what = str(error) if (job.out / JOB).exists() else f"{job.out}: is not empty and holds no mining"
            raise RunError(f"{what}; choose another --out") from None
        note(f"{error}; it is written anew")
    with suppress(RunError):
        return read_json(job.out / DONE, "")
    return None


def borrow(job: Job, files: list[Path]) -> None:
    """Copy the results of shards that a mining beside this one scored alike, unless they are damaged.

    So another k, or a pool that grew, costs little.
    """
    count = 0
    for folder in sorted(job.out.absolute().parent.glob(f"*/{files[0].parent.name}")):
        for file in files:
            if not file.exists() and (other := folder / file.name).is_file():
                try:
                    results.load(other)
                except RunError as error:
                    note(f"{str(error).partition(';')[0]}; it is not taken over")
                    continue
                copy_whole(other, file)
                count += 1
    if count:
        note(f"{count} shards: taken over from beside {job.out}")


def score_shards(job: Job, files: list[Path]) -> None:
    """Score the shards of this part that have no result yet, in order."""
    first, parts = job.part
    mine_of = range(first - 1, len(files), parts)
    remaining = [number for number in mine_of if not files[number].is_file()]
    if not remaining:
        return
    probabilities = job.teacher.ready()
    with ThreadPoolExecutor(job.threads, thread_name_prefix="ssld-mine") as pool:
        with progress(len(job.against), "validation", quiet=job.quiet) as bar:
            validation = Validation(job.against, pool, bar.update, job.teacher.input.background)
        finished_images = sum(len(results.load(files[number]).items) for number in mine_of if files[number].is_file())
        with progress(
            finished_images + _expected(job.shards, remaining, 0), "score", finished_images, quiet=job.quiet
        ) as bar:
            for place, number in enumerate(remaining):
                items = job.shards[number].items()
                ahead = _expected(job.shards, remaining[place + 1 :], len(items))
                report = partial(_tell, bar, finished_images, finished_images + len(items) + ahead)
                result = score(items, job.teacher.input, probabilities, validation, pool, report)
                results.save(result, files[number])
                finished_images += len(items)


def _tell(bar: Bar, start: int, total: int, images: int) -> None:
    """Show on the bar how many images are scored."""
    bar.count(start + images, total)


def _expected(shards: list[Shard], remaining: list[int], like: int) -> int:
    """Return the number of images of the shards to come. A tar is expected to hold as many as the shard before it."""
    return sum(like if shards[number].tar else len(shards[number].files) for number in remaining)


def thresholds() -> dict[str, Any]:
    """Return the numbers that decide what a near-duplicate is."""
    names: dict[ModuleType, tuple[str, ...]] = {
        candidates: ("CELLS", "FREQUENCIES", "WINDOWS", "NEAREST", "LIKE"),
        duplicates: tuple(name for name in vars(duplicates) if name.isupper()),
        picture: ("SIDE",),
        topk: ("FLOOR",),
    }
    return {name.lower(): getattr(module, name) for module, group in names.items() for name in group}
