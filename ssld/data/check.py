"""Find images that cannot be read before a training does: `ssld data check`."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from PIL import Image

from ssld.data.lists import FileList

DALI_FORMATS = frozenset(("JPEG", "MPO", "PNG", "WEBP", "BMP", "TIFF", "PPM", "JPEG2000"))


@dataclass
class Report:
    """What a check found: images looked at, and (path, reason) of each that cannot be used."""

    images: int = 0
    bad: list[tuple[str, str]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return not self.bad


def fault(image: str | bytes) -> str | None:
    """Why an image cannot be used, in a few words; None when it can. Decodes all of it.

    image: the path of a file, or the bytes of one.
    """
    try:
        if not (len(image) if isinstance(image, bytes) else os.path.getsize(image)):
            return "the file is empty"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of odd EXIF data and large images: no fault here
            with Image.open(_stream(image)) as opened:
                if opened.format not in DALI_FORMATS:
                    return f"{opened.format} is not read by DALI"
                opened.verify()
            with Image.open(_stream(image)) as opened:
                opened.load()
    except FileNotFoundError:
        return "no such file"
    except Exception as error:  # noqa: BLE001 - Pillow's decoders raise almost anything on damaged bytes
        return " ".join(str(error).split()) or type(error).__name__
    return None


def _stream(image: str | bytes) -> str | io.BytesIO:
    return io.BytesIO(image) if isinstance(image, bytes) else image


def check(
    files: FileList, threads: int = 1, progress: Callable[[int, int], None] | None = None, keep: int | None = None
) -> Report:
    """Decode every image of a list; `progress(done, total)` is called now and then. At most `keep` faults are kept."""
    report = Report()
    total = len(files)
    with ThreadPoolExecutor(max(1, threads)) as pool:
        for start in range(0, total, 1024):  # bounded: a list may hold millions
            paths = [files.path(i) for i in range(start, min(start + 1024, total))]
            for path, reason in zip(paths, pool.map(fault, paths), strict=True):
                report.images += 1
                if reason and (keep is None or len(report.bad) < keep):
                    report.bad.append((path, reason))
            if progress:
                progress(report.images, total)
    return report
