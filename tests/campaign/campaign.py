"""Do harm on purpose and count what becomes of it: `python -m tests.campaign.campaign`, or `make campaign`.

The campaign is a list of cases. What a case has found is kept in a file, so that a campaign that was stopped goes on
with the case that it was at; other code begins it anew. The last line is JSON with the figures.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from threading import Lock
from typing import Any

from tests.campaign import damaged, fuzz, inputs, kills, ranks, small_run, system_faults
from tests.campaign.readers import READERS

ROOT = Path(__file__).resolve().parents[2]
CODE = ("ssld/**/*.py", "ssld/**/*.c", "tests/campaign/*.py", "tests/unit/own_code/*.py")
UNFINISHED = 3  # exit code where the time was over first
SEEDS = 10  # so many cases kill runs by chance
KILLS = 16  # in each of them
PARTS_OF_MOMENTS = 6

Figures = Mapping[str, int]


@dataclass(frozen=True)
class Case:
    """Describe a case. `find` gets the place of `small_run` and a folder of its own; it returns what it has counted."""

    part: str
    name: str
    find: Callable[[Path, Path], Figures]


def cases() -> list[Case]:
    """Return all cases, in their order."""
    return [
        *(_chance(seed) for seed in range(SEEDS)),
        *(_moments(part) for part in range(PARTS_OF_MOMENTS)),
        *(Case("kills", name, find) for name, find in kills.COMMANDS.items()),
        *(Case("kills", name, find) for name, find in ranks.CASES.items()),
        *(Case("damage", name, find) for name, find in damaged.CASES.items()),
        *(Case("inputs", name, find) for name, find in inputs.CASES.items()),
        *(Case("faults", name, find) for name, find in system_faults.CASES.items()),
        *(Case("fuzz", name, _fuzzed(name)) for name in READERS),
    ]


def _chance(seed: int) -> Case:
    return Case(
        "kills", f"by chance {seed}", lambda place, own: kills.run_killed_by_chance(place, own / "copy", seed, KILLS)
    )


def _moments(part: int) -> Case:
    def find(place: Path, own: Path) -> Figures:
        return kills.run_killed_at_each_moment(place, own / "copy", part, PARTS_OF_MOMENTS)

    return Case("kills", f"at each moment {part + 1}/{PARTS_OF_MOMENTS}", find)


def _fuzzed(name: str) -> Callable[[Path, Path], Figures]:
    return lambda place, own: fuzz.in_a_process(name, fuzz.SECONDS)


class Kept:
    """Keep what cases have found, one line each, with the digest of the code that found it."""

    def __init__(self, folder: Path):
        self.file, self._lock = folder / "found.jsonl", Lock()
        self._code = code_digest()
        folder.mkdir(parents=True, exist_ok=True)

    def found(self) -> dict[tuple[str, str], dict[str, Any]]:
        """Return what this code has found, by part and name of the case."""
        lines = self.file.read_text().split("\n") if self.file.is_file() else []
        found = {}
        for line in filter(None, lines):
            try:
                record = json.loads(line)
            except ValueError:  # a kill of the campaign has cut it short
                continue
            if record["code"] == self._code:
                found[record["part"], record["name"]] = record
        return found

    def keep(self, case: Case, **record: Any) -> None:
        with self._lock, self.file.open("a") as stream:
            # A kill may have cut the last line short.
            stream.write("\n" + json.dumps({"code": self._code, "part": case.part, "name": case.name, **record}) + "\n")


def code_digest() -> str:
    """Return a digest of the library and of the campaign."""
    digest = hashlib.sha256()
    for file in sorted(file for pattern in CODE for file in ROOT.glob(pattern)):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def run(chosen: list[Case], folder: Path, minutes: float, jobs: int) -> dict[str, Any]:
    """Run the cases that are not done yet, `jobs` side by side, and return the figures of all that are done.

    No case begins after so many minutes.
    """
    kept, end = Kept(folder), time.monotonic() + 60 * minutes
    left = [case for case in chosen if (case.part, case.name) not in kept.found()]
    place = folder / f"place-{code_digest()}"
    if left and not (place / "whole").is_file():
        for outdated in folder.glob("place-*"):
            shutil.rmtree(outdated)
        small_run.make_place(place)
        damaged.make_other(place)
        (place / "whole").touch()

    def one(case: Case) -> None:
        if time.monotonic() > end:
            return
        own, begun = folder / f"{case.part} {case.name}".replace("/", " of ").replace(" ", "-"), time.monotonic()
        try:
            system_faults.remove(own)
            own.mkdir()
            found: dict[str, Any] = {"figures": dict(case.find(place, own))}
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what the case has found
            found = {"figures": {}, "failure": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()}
        else:
            shutil.rmtree(own)
        kept.keep(case, seconds=round(time.monotonic() - begun, 1), **found)
        _say(f"{case.part} {case.name}: {found.get('failure') or found['figures']}")

    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(one, left))
    return figures(chosen, kept.found())


def _say(line: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {line[:2000]}\n")


def figures(chosen: list[Case], found: Mapping[tuple[str, str], Mapping[str, Any]]) -> dict[str, Any]:
    """Return the figures of the cases that are done: how often each part has met what."""
    done = [found[key] for case in chosen if (key := (case.part, case.name)) in found]
    parts: dict[str, Counter[str]] = {case.part: Counter() for case in chosen}
    for record in done:
        parts[record["part"]].update(record["figures"])
    return {
        "date": date.today().isoformat(),
        "code": code_digest(),
        "cores": len(os.sched_getaffinity(0)),
        "seconds": round(sum(record["seconds"] for record in done)),
        "cases": len(chosen),
        "done": len(done),
        "failures": [
            f"{record['part']} {record['name']}: {record['failure'][:300]}" for record in done if "failure" in record
        ],
        **{part: {"all": counter.total(), **counter} for part, counter in parts.items()},
    }


def main() -> None:
    """Run the campaign. The exit code is 0 where no case found a fault, 1 where one did, 3 where cases are left."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "campaign", help="Where its files are kept.")
    parser.add_argument("--minutes", type=float, default=55, help="No case begins later (default 55).")
    parser.add_argument("--jobs", type=int, default=2, help="So many cases run side by side (default 2).")
    parser.add_argument("--only", default="", help="Run only the cases in whose part and name this text is.")
    options = parser.parse_args()
    chosen = [case for case in cases() if options.only in f"{case.part} {case.name}"]
    said = run(chosen, options.folder.resolve(), options.minutes, options.jobs)
    sys.stdout.write(json.dumps(said) + "\n")
    sys.exit(1 if said["failures"] else UNFINISHED if said["done"] < said["cases"] else 0)


if __name__ == "__main__":
    main()
