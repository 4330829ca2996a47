"""What training, evaluation, mining, bench and example see of every kind of file: the table of docs/data.md.

`python -m tests.unit.test_data_kinds` prints the table.
"""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest

from ssld.config.cards import Input
from ssld.data import Augment, EvalLoader, FileList, Loader, check
from ssld.data.readable import Unreadable
from ssld.deploy.pictures import preprocess
from ssld.errors import DataError
from tests.unit.kinds_of_files import BACKGROUND, HEIGHT, WIDTH, Kind, kinds

ROOT = Path(__file__).parents[2]
RAW = {"mean": (0.0, 0.0, 0.0), "std": (1 / 255,) * 3}  # leaves pixels as 0..255
WAYS = ("train", "eval", "mine", "bench", "example")
KINDS = kinds()
GIVEN = Input(size=HEIGHT, resize=HEIGHT, **RAW)


def example():
    """The program for users of an export, as a module."""
    spec = importlib.util.spec_from_file_location("classify", ROOT / "examples/classify.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def by_loader(folder: Path, kind: Kind, way: str) -> np.ndarray:
    files = FileList([kind.name], np.zeros(1, dtype=np.int64), str(folder))
    if way == "train":
        whole = Augment(area=(1, 1), flip=0)
        batches = Loader(files, size=HEIGHT, batch=1, augment=whole, seed=0, **RAW).batches(0, 1)
    else:
        batches = EvalLoader(files, size=HEIGHT, resize=HEIGHT, batch=1, **RAW).batches()
    return next(iter(batches))["image"].numpy()[0].transpose(1, 2, 0)


def seen(folder: Path, kind: Kind, way: str, program) -> np.ndarray:
    """The pixels 0..255 that one way sees, [HEIGHT, WIDTH, 3]; an exception where it refuses the file."""
    path = folder / kind.name
    if way in ("train", "eval"):
        return by_loader(folder, kind, way)
    if way == "mine":
        mine = pytest.importorskip("ssld.mine.picture", exc_type=ImportError)
        return mine.look(mine.Item(str(path), str(path)), GIVEN).crop.transpose(1, 2, 0)
    if way == "bench":
        given = {"size": HEIGHT, "resize": HEIGHT, "dtype": "uint8"}
        return preprocess(path.read_bytes(), given, HEIGHT)
    return program.centre(program.pixels_of(path, BACKGROUND), HEIGHT, HEIGHT, "linear")


def cell(folder: Path, kind: Kind, way: str, program) -> str:
    """`refused`, or the largest difference from the truth in 1/255."""
    refusals = (OSError, ValueError, SyntaxError) if way == "example" else (DataError, Unreadable)
    try:
        pixels = seen(folder, kind, way, program)
    except refusals:
        return "refused"
    assert pixels.shape == (HEIGHT, WIDTH, 3)
    return "seen" if kind.truth is None else str(int(np.abs(pixels.astype(float) - kind.truth).max().round()))


def table(folder: Path) -> dict[str, list[str]]:
    program = example()
    for kind in KINDS:
        (folder / kind.name).write_bytes(kind.data)
    return {kind.title: [cell(folder, kind, way, program) for way in WAYS] for kind in KINDS}


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    pytest.importorskip("onnxruntime")
    return table(tmp_path_factory.mktemp("kinds"))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_way_sees_the_truth_or_refuses_the_file(rows, kind):
    cells = rows[kind.title]
    if kind.truth is None:
        assert cells == ["refused"] * (len(WAYS) - 1) + ["refused" if kind.example else "seen"]
    else:
        assert all(text.isdecimal() and int(text) <= kind.level for text in cells), cells


def test_the_check_says_of_every_file_what_training_says(rows, tmp_path):
    for kind in KINDS:
        (tmp_path / kind.name).write_bytes(kind.data)
    names = [kind.name for kind in KINDS]
    report = check(FileList(names, np.zeros(len(names)), str(tmp_path)))
    bad = {Path(path).name for path, _ in report.bad}
    assert bad == {kind.name for kind in KINDS if rows[kind.title][0] == "refused"}
    assert report.transparent == 6  # palette, two of RGBA, grey and alpha, grey of 16 bits, WebP
    assert {Path(path).name for path in report.flat} == {"interlaced.png"}


def test_the_table_on_the_page_is_what_the_ways_see(rows):
    page = (ROOT / "docs/data.md").read_text(encoding="utf-8")
    body = re.search(r"^\| file \|.*?\n\n", page, flags=re.MULTILINE | re.DOTALL).group()
    told = {
        line.split(" | ")[0].lstrip("| "): line.rstrip(" |").split(" | ")[1:] for line in body.strip().splitlines()[2:]
    }
    assert told.keys() == rows.keys()
    for title, cells in rows.items():
        for stated, found in zip(told[title], cells, strict=True):  # decoders of other machines round otherwise
            assert stated == found or abs(int(stated) - int(found)) <= 2, title


if __name__ == "__main__":
    import sys
    import tempfile

    lines = [f"| file | {' | '.join(WAYS)} |", f"|---|{'---|' * len(WAYS)}"]
    with tempfile.TemporaryDirectory() as place:
        lines += [f"| {name} | {' | '.join(found)} |" for name, found in table(Path(place)).items()]
    sys.stdout.write("\n".join(lines) + "\n")
