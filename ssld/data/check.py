"""Find images that cannot be read, or show nothing, before a training does: `ssld data check`."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from ssld.data.lists import FileList
from ssld.data.readable import Unreadable, examine
from ssld.spec.colours import WHITE, Colour


@dataclass
class Report:
    """Hold the result of a check.

    images: how many were looked at; bad: path and reason of each that cannot be used; transparent: how many have
    pixels that the background shines through; flat: paths of those that are one flat colour, once they lie on it.
    `keep` of `check` bounds the two lists, `flat_images` counts all.
    """

    images: int = 0
    bad: list[tuple[str, str]] = field(default_factory=list)
    transparent: int = 0
    flat_images: int = 0
    flat: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return not self.bad


def check(
    files: FileList,
    threads: int = 1,
    progress: Callable[[int, int], None] | None = None,
    keep: int | None = None,
    background: Colour = WHITE,
) -> Report:
    """Decode every image of a list and report the faults; at most `keep` of them are kept.

    progress: is called with (done, total) now and then; background: the colour behind transparent pixels.
    """

    def look(path: str) -> tuple[str | None, bool, bool]:
        try:
            image = examine(path, background)
        except Unreadable as error:
            return str(error), False, False
        return None, image.transparent, image.flat

    report = Report()
    total = len(files)
    with ThreadPoolExecutor(max(1, threads)) as pool:
        for start in range(0, total, 1024):  # in bounded parts, for a list may hold millions
            paths = [files.path(i) for i in range(start, min(start + 1024, total))]
            for path, (reason, transparent, flat) in zip(paths, pool.map(look, paths), strict=True):
                report.images += 1
                report.transparent += transparent
                report.flat_images += flat
                if reason and (keep is None or len(report.bad) < keep):
                    report.bad.append((path, reason))
                if flat and (keep is None or len(report.flat) < keep):
                    report.flat.append(path)
            if progress:
                progress(report.images, total)
    return report
