"""Kill commands by SIGKILL at every moment, repeat them, and compare what they leave with what an undisturbed one left.

`run_killed_by_chance` kills a run at drawn moments of each of its phases; `killed_at_each_moment` kills a command at
every moment of `ssld.faults` that it passes, one after the other.
"""

import json
import random
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ssld.files import write_whole
from tests.campaign.commands import Running, ssld, start
from tests.campaign.small_run import OTHER, curve_of, fresh_copy, run_words, weights_of

KILLED = -9
PHASES = {  # phase of a run -> what a line of its standard error begins with when the phase begins
    "mining": "validation",
    "training teach": "teach:",
    "training plain": "plain:",
    "label filling": "labels go to",
    "training distill": "distill:",
    "training fix": "fix:",
    "export": "export ...",
    "bench": "bench ...",
}
SHARES = {  # phase -> share of the kills that aim at it
    "start": 1,
    "mining": 3,
    "training teach": 2,
    "training plain": 2,
    "label filling": 3,
    "training distill": 4,
    "training fix": 2,
    "export": 3,
    "bench": 2,
    "report": 3,
}
WORDS = run_words("whole.yaml", "runs/whole")


def phase_of(running: Running, run: Path) -> str:
    """Return the phase in which a process is: the last that it told of; `report` once there is a result."""
    if (run / "result.json").is_file():
        return "report"
    errors = "\n" + running.errors()
    places = {phase: errors.rfind("\n" + line) for phase, line in PHASES.items()}
    phase = max(places, key=lambda name: places[name])
    return phase if places[phase] >= 0 else "start"


def spans(place: Path, scratch: Path) -> dict[str, float]:
    """Return how many seconds each phase of an undisturbed run takes here, which is measured once."""
    kept = place / "spans.json"
    if not kept.is_file():
        measured = _spans(place, scratch)
        write_whole(kept, json.dumps(measured))
    return dict(json.loads(kept.read_text()))


def _spans(place: Path, scratch: Path) -> dict[str, float]:
    copy = fresh_copy(place, scratch)
    running, begun, now = start(WORDS, copy), {"start": time.monotonic()}, "start"
    while not running.ended():
        if (phase := phase_of(running, copy / "runs/whole")) != now:
            begun[phase], now = time.monotonic(), phase
        time.sleep(0.005)
    done = running.wait()
    assert done.code == 0, done.errors
    ends = [*list(begun.values())[1:], time.monotonic()]
    return {phase: end - begin for (phase, begin), end in zip(begun.items(), ends, strict=True)}


def run_killed_by_chance(place: Path, scratch: Path, seed: int, kills: int) -> Counter[str]:
    """Kill runs so many times at moments drawn from the seed, and resume each to its end.

    Returns how many kills met each phase. AssertionError where a run ends with other weights than the undisturbed one,
    or with a step of metrics.jsonl missing or double.
    """
    generator, met = random.Random(seed), Counter[str]()
    times, copy = spans(place, scratch), fresh_copy(place, scratch)
    while met.total() < kills:
        aims = sorted(generator.choices([*SHARES], [*SHARES.values()], k=kills - met.total()), key=[*SHARES].index)
        for aim in aims:
            if killed_in := _killed(copy, aim, generator.uniform(0, 0.7) * times.get(aim, 0)):
                met[killed_in] += 1
            else:
                break  # the run was faster
        finish(copy)
        assert_like_the_whole_run(copy, place)
        copy = fresh_copy(place, scratch)
    return met


def _killed(copy: Path, aim: str, seconds: float) -> str | None:
    """Start or resume a run and kill it so many seconds after a phase has begun; return the phase that the kill met."""
    running, run, begun = start(WORDS, copy), copy / "runs/whole", None
    order = [*SHARES]
    while begun is None or time.monotonic() < begun + seconds:
        if running.ended():
            done = running.wait()
            assert done.code == 0, done.errors
            return None
        if begun is None and order.index(phase_of(running, run)) >= order.index(aim):
            begun = time.monotonic()
        time.sleep(0.005)
    met = phase_of(running, run)
    running.kill()
    done = running.wait()
    if done.code != KILLED:
        assert done.code == 0, done.errors
        return None
    return "checkpoint" if any(run.glob("stages/*/checkpoint-*.partial-*")) else met


def finish(copy: Path, words: list[str] = WORDS) -> None:
    """Repeat a command until its end. It must succeed."""
    done = ssld(*words, place=copy)
    assert done.code == 0, done.errors
    assert "Traceback" not in done.errors, done.errors


def assert_like_the_whole_run(copy: Path, place: Path) -> None:
    """Compare a resumed run, its labels and its mined list with those of the undisturbed run; nothing is left over."""
    one, other = copy / "runs/whole", place / "runs/whole"
    assert weights_of(one) == weights_of(other)
    assert curve_of(one) == curve_of(other)
    assert scores_of(one) == scores_of(other)
    assert (one / "report.html").is_file()
    for pattern in ("labels/*/*", "labels/*/view-*/*", "data/pool/*.txt", "data/pool/images/*/*"):
        assert changed(contents(copy, pattern), contents(place, pattern)) == []
    assert left_over(copy) == []


def scores_of(run: Path) -> dict[str, object]:
    """Return what result.json has measured of networks, without times."""
    result = json.loads((run / "result.json").read_text())
    of_stage = ("top1", "loss", "steps", "sha256")
    stages = {name: [stage[key] for key in of_stage] for name, stage in result["stages"].items()}
    return {**{key: result[key] for key in ("top1", "top5", "nll", "ece", "digest", "agreement")}, "stages": stages}


def contents(folder: Path, pattern: str) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.glob(pattern) if file.is_file()}


def changed(one: Mapping[str, object], other: Mapping[str, object]) -> list[str]:
    """Return the names of files that are not the same."""
    return sorted(name for name in {**one, **other} if one.get(name) != other.get(name))


def left_over(folder: Path) -> list[str]:
    """Return what is left under the names of unfinished files."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.partial-*"))


# --- every moment that a command passes


def moments(words: list[str], copy: Path) -> list[tuple[str, str]]:
    """Run a command; return each (moment, pattern of a kind of file) that it passes, in the order of the first time."""
    done = ssld(*words, place=copy, SSLD_FAULT="TELL * * 1")
    assert done.code == 0, done.errors
    passed = re.findall(r"^SSLD_FAULT (\w+) (.*)$", done.errors, re.MULTILINE)
    return list(dict.fromkeys((moment, kind_of(file)) for moment, file in passed))


def kind_of(file: str) -> str:
    """Return a pattern of all files of a kind: of every stage, step, digest and number."""
    pattern = re.sub(r"stages/[^/]*", "stages/*", file)
    pattern = re.sub(r"(?<=/)[0-9a-f]{2}/", "*/", pattern)  # the folders of mined images
    return re.sub(r"(?<![a-z])(?=[0-9a-f]*\d)[0-9a-f]{3,}", "*", pattern)


def killed_at_each_moment(
    words: list[str], fresh: Callable[[], Path], compare: Callable[[Path], None], first: int = 0, step: int = 1
) -> Counter[str]:
    """Kill a command at its moments, from the `first` on every `step`-th, and repeat it after each kill.

    `fresh` makes the folder in which the command has not run; `compare` checks what it leaves at its end. Returns how
    many kills there were. A moment that a repeated command does not pass any more is met in a fresh folder.
    """
    met, copy = Counter[str](), fresh()
    wanted = moments(words, copy)[first::step]
    compare(copy)
    copy, begun = fresh(), False
    for name, pattern in wanted:
        for _ in range(2):
            done = ssld(*words, place=copy, SSLD_FAULT=f"KILL {name} {pattern} 1")
            if done.code == KILLED:
                met[f"{' '.join(words[: 2 if words[0] == 'data' else 1])} at a named moment"] += 1
                begun = True
                break
            assert done.code == 0, (name, pattern, done.errors)
            compare(copy)
            copy, begun = fresh(), False
        else:
            raise AssertionError(f"{name} {pattern}: not met again")
    if begun:
        finish(copy, words)
        compare(copy)
    return met


def run_killed_at_each_moment(place: Path, scratch: Path, part: int, parts: int) -> Counter[str]:
    """Kill runs at one of `parts` shares of their moments; each ends like the undisturbed one."""
    return killed_at_each_moment(
        WORDS, lambda: fresh_copy(place, scratch), lambda copy: assert_like_the_whole_run(copy, place), part, parts
    )


# --- commands beside `ssld run`


@dataclass(frozen=True)
class Command:
    """Describe a command that is killed beside a finished run, and the files, by patterns, that it makes."""

    words: list[str]
    made: tuple[str, ...]

    def __call__(self, place: Path, own: Path) -> Counter[str]:
        """Kill it at each moment; it must leave the same bytes each time, and nothing else."""
        copy = self._fresh(place, own / "copy")
        finish(copy, self.words)
        expected = self._made(copy)
        assert expected, self.made

        def compare(copy: Path) -> None:
            assert changed(self._made(copy), expected) == []
            assert left_over(copy) == []

        return killed_at_each_moment(self.words, lambda: self._fresh(place, own / "copy"), compare)

    def _fresh(self, place: Path, to: Path) -> Path:
        shutil.rmtree(to, ignore_errors=True)
        shutil.copytree(place, to, ignore=shutil.ignore_patterns(OTHER))
        for pattern in self.made:
            for path in [*to.glob(pattern)]:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        return to

    def _made(self, copy: Path) -> dict[str, bytes]:
        made = [contents(copy, pattern if "." in pattern else f"{pattern}/**/*") for pattern in self.made]
        return {name: data for files in made for name, data in files.items()}


_MINE = ["--teacher", "card.yaml", "--weights", "weights/teacher.safetensors", "--against", "data/digits/val.txt"]
_MINE += ["--k", "4", "--gate", "0", "--device", "cpu", "--out", "mined"]
COMMANDS: dict[str, Callable[[Path, Path], Counter[str]]] = {
    "ssld label": Command(["label", "whole.yaml", "--device", "cpu", "--out", "runs/whole"], ("labels",)),
    "ssld mine": Command(["mine", *(f"data/pool_{name}.tar" for name in "abc"), *_MINE], ("mined",)),
    "ssld export": Command(["export", "runs/whole", "--format", "paddle", "--out", "exported"], ("exported",)),
    "ssld report": Command(["report", "runs/whole"], ("runs/whole/report.html",)),
    "ssld data prepare": Command(["data", "prepare", "digits", "--out", "prepared"], ("prepared",)),
}
