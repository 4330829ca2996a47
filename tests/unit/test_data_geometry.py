"""One rule of rounding: in the evaluation, the bench, both programs of examples/ and the one of the quickstart."""

import importlib.util
import re
import shutil
import subprocess
from fractions import Fraction
from math import floor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ssld.data import EvalLoader, FileList
from ssld.data.geometry import eval_geometry, half_up
from ssld.deploy.pictures import preprocess
from tests.unit.kinds_of_files import saved

ROOT = Path(__file__).parents[2]


def cases(number=1000):
    """(width, height, resize): half of them such that the long side ends in one half."""
    rng = np.random.default_rng(0)
    found = []
    while len(found) < number:
        width, height, resize = (int(n) for n in (*rng.integers(8, 900, 2), rng.integers(8, 512)))
        half = Fraction(max(width, height) * resize, min(width, height)) % 1 == Fraction(1, 2)
        if half or len(found) % 2:
            found.append((width, height, resize))
    return found


CASES = cases()


def rule(side, resize, short):
    return floor(Fraction(side * resize, short) + Fraction(1, 2))


def wanted():
    return [(rule(w, r, min(w, h)), rule(h, r, min(w, h))) for w, h, r in CASES]


def test_the_sizes_hold_many_halves_of_which_python_rounds_half_otherwise():
    halves = [(w, h, r) for w, h, r in CASES if Fraction(max(w, h) * r, min(w, h)) % 1 == Fraction(1, 2)]
    assert len(halves) >= 500
    assert sum(round(Fraction(max(w, h) * r, min(w, h))) != rule(max(w, h), r, min(w, h)) for w, h, r in halves) > 100


def test_evaluation_and_bench_round_as_the_rule_says():
    for (width, height, resize), (wide, tall) in zip(CASES, wanted(), strict=True):
        sides, _ = eval_geometry(np.array([[height, width]]), resize, 1)
        assert sides.tolist() == [[tall, wide]]
        short = min(width, height)
        assert (half_up(width * resize, short), half_up(height * resize, short)) == (wide, tall)


def test_the_example_in_python_rounds_as_the_rule_says():
    pytest.importorskip("onnxruntime")
    spec = importlib.util.spec_from_file_location("classify", ROOT / "examples/classify.py")
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    found = [(program.resized(w, r, min(w, h)), program.resized(h, r, min(w, h))) for w, h, r in CASES]
    assert found == wanted()


@pytest.mark.parametrize("page", ["quickstart.md", "quickstart.zh-CN.md"])
def test_the_program_of_the_page_rounds_as_the_rule_says(page):
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    (line,) = re.findall(r"^width, height = \((.*)\)(?:  # .*)?$", text, flags=re.MULTILINE)
    for (width, height, resize), sides in zip(CASES, wanted(), strict=True):
        known = {"size": 1, "resize": resize, "short": min(width, height), "image": Image.new("1", (width, height))}
        assert tuple(eval(f"({line})", known)) == sides


def test_the_example_in_c_plus_plus_rounds_and_blends_as_the_rules_say(tmp_path):
    compiler = shutil.which("c++")
    if not compiler:
        pytest.skip("no C++ compiler")
    (tmp_path / "ask.cpp").write_text(
        '#include "geometry.h"\n#include <cstdio>\nint main() {\n'
        "    int side, resize, smaller;\n"
        '    while (std::scanf("%d %d %d", &side, &resize, &smaller) == 3)\n'
        '        std::printf("%d\\n", resized(side, resize, smaller));\n'
        "    for (int alpha = 0; alpha < 256; ++alpha)\n"
        "        for (int level = 0; level < 256; ++level) {\n"
        "            const uint8_t pixel[4] = {uint8_t(level), 0, 0, uint8_t(alpha)};\n"
        '            std::printf("%d\\n", on_background(pixel, 1, {201, 0, 0})[0]);\n'
        "        }\n}\n"
    )
    build = [compiler, "-std=c++17", "-Wall", "-Wextra", "-Werror", "-I", ROOT / "examples/cpp"]
    subprocess.run([*build, tmp_path / "ask.cpp", "-o", tmp_path / "ask"], check=True, timeout=120)
    asked = "".join(f"{side} {r} {min(w, h)}\n" for w, h, r in CASES for side in (w, h))
    done = subprocess.run([tmp_path / "ask"], input=asked, capture_output=True, text=True, timeout=60, check=True)
    numbers = [int(line) for line in done.stdout.split()]
    assert numbers[: 2 * len(CASES)] == [side for pair in wanted() for side in pair]
    alpha, level = np.mgrid[0:256, 0:256]
    blended = np.array(numbers[2 * len(CASES) :]).reshape(256, 256)
    assert np.array_equal(blended, np.rint((level * alpha + 201 * (255 - alpha)) / 255))


@pytest.mark.parametrize(("width", "height", "resize"), [(109, 108, 54), (150, 100, 35), (100, 150, 35), (45, 30, 17)])
def test_an_image_whose_side_ends_in_one_half_is_the_same_in_evaluation_and_bench(tmp_path, width, height, resize):
    pixels = np.random.default_rng(0).integers(0, 256, (height // 4 + 1, width // 4 + 1, 3), dtype=np.uint8)
    data = saved(Image.fromarray(pixels).resize((width, height)), "PNG")
    (tmp_path / "a.png").write_bytes(data)
    files = FileList(["a.png"], np.zeros(1, dtype=np.int64), str(tmp_path))
    raw = {"mean": (0.0, 0.0, 0.0), "std": (1 / 255,) * 3}
    (batch,) = EvalLoader(files, size=resize - 8, resize=resize, batch=1, **raw).batches()
    seen = batch["image"].numpy()[0].transpose(1, 2, 0)
    given = {"size": resize - 8, "resize": resize, "dtype": "uint8"}
    assert np.abs(seen - preprocess(data, given, resize - 8).astype(float)).max() <= 1
