"""The programs of examples/: what they say of an image is what the network says of it."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import paddle
import pytest
from PIL import Image

from ssld.deploy import export_model
from ssld.deploy.export import How
from ssld.deploy.pictures import preprocess
from tests.unit.toy_export import CONTRACT

EXAMPLES = Path(__file__).parents[2] / "examples"
HEADERS = {"onnxruntime_cxx_api.h": "onnxruntime", "stb/stb_image.h": ""}  # and their folder below /usr/include
SIZE = 24
NAMES = ["boot", "hat", "sock", "shirt"]


def network():
    paddle.seed(3)
    stem = paddle.nn.Conv2D(3, 8, 3, stride=2)
    return paddle.nn.Sequential(
        stem, paddle.nn.ReLU(), paddle.nn.AdaptiveAvgPool2D(2), paddle.nn.Flatten(), paddle.nn.Linear(32, 4)
    )


@pytest.fixture(scope="module", params=[("linear", 32), ("cubic", 20)], ids=str)
def place(request, tmp_path_factory):
    """A folder with `export`, made with the processing inside, and pictures of two shapes."""
    folder, (interpolation, resize) = tmp_path_factory.mktemp("place"), request.param
    input_spec = {"size": SIZE, "resize": resize, "mean": [0.5, 0.4, 0.3], "std": [0.1, 0.2, 0.3]}
    about = CONTRACT | {
        "input": input_spec | {"interpolation": interpolation, "background": [250, 120, 0]},
        "class_names": NAMES,
    }
    export_model(
        network(),
        folder / "export",
        name="toy",
        contract=about,
        formats=["onnx"],
        how=How(preprocess=True, softmax=True),
    )
    rng = np.random.default_rng(0)
    for name, shape in (("wide.png", (60, 97, 3)), ("small.png", (21, 18, 3))):
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(folder / name)
    Image.fromarray(rng.integers(0, 256, (40, 61, 4), dtype=np.uint8), "RGBA").save(folder / "clear.png")
    Image.fromarray(rng.integers(0, 65536, (40, 61), dtype=np.uint16)).save(folder / "deep.png")
    Image.new("CMYK", (40, 40)).save(folder / "ink.jpg")
    return folder


def expected_scores(place, picture):
    """The network's own probabilities."""
    input_spec = json.loads((place / "export" / "contract.json").read_text())["input"]
    pixels = preprocess((place / picture).read_bytes(), input_spec, SIZE) / 255
    image = ((pixels - input_spec["mean"]) / input_spec["std"]).transpose(2, 0, 1)[None].astype("float32")
    with paddle.no_grad():
        return paddle.nn.functional.softmax(network()(paddle.to_tensor(image))).numpy()[0]


def runs(*words, code=0):
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code, done.stderr
    return done


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The program in C++."""
    missing = [tool for tool in ("make", "c++") if not shutil.which(tool)]
    for name, folder in HEADERS.items():
        places = (EXAMPLES / "cpp" / "include", Path("/usr/include") / folder)
        missing += [] if any((place / name).is_file() for place in places) else [name]
    if missing:
        pytest.skip(f"no {', no '.join(missing)}; make -C examples/cpp headers")
    folder = tmp_path_factory.mktemp("build")
    runs("make", "-C", EXAMPLES / "cpp", f"PYTHON={sys.executable}", f"BUILD={folder}")
    old = subprocess.run(
        [folder / "classify", "no", "no"], capture_output=True, text=True, timeout=60, check=False
    ).stderr
    if "older than the headers" in old:
        pytest.skip(old.strip())
    return [folder / "classify"]


@pytest.fixture(params=["python", "c++"])
def program(request):
    """The words that start it."""
    return [sys.executable, EXAMPLES / "classify.py"] if request.param == "python" else request.getfixturevalue("built")


@pytest.mark.parametrize("picture", ["wide.png", "small.png", "clear.png", "deep.png"])
def test_an_example_says_of_an_image_what_the_network_says(program, place, picture):
    lines = [line.split() for line in runs(*program, place / "export", place / picture).stdout.splitlines()]
    expected = expected_scores(place, picture)
    assert [int(line[1]) for line in lines] == [*np.argsort(-expected)]
    assert [float(line[0]) for line in lines] == pytest.approx(sorted(expected, reverse=True), abs=2e-3)


def test_the_example_in_python_knows_the_names_of_the_classes(place):
    done = runs(sys.executable, EXAMPLES / "classify.py", place / "export", place / "wide.png")
    assert {line.split()[2] for line in done.stdout.splitlines()} == set(NAMES)


def test_the_program_in_c_plus_plus_refuses_what_stb_image_reads_otherwise(built, place):
    done = runs(*built, place / "export", place / "ink.jpg", code=1)
    assert done.stderr.splitlines() == [f"{place / 'ink.jpg'}: is a JPEG file in CMYK; save it in RGB"]


@pytest.mark.parametrize("picture", ["wide.png", "clear.png"])
@pytest.mark.parametrize("place", [("linear", 32)], indirect=True, ids=str)  # as the recipe of that page resizes
def test_the_program_in_the_quickstart_answers_as_the_network_does(place, picture, tmp_path, monkeypatch):
    page = (EXAMPLES.parent / "docs/quickstart.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"^```python\n(import json\n.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(tmp_path)
    Path("classify.py").write_text(program)
    Path("exported").symlink_to(place / "export")
    name, probability = runs(sys.executable, "classify.py", place / picture).stdout.split()
    expected = expected_scores(place, picture)
    assert (name, float(probability)) == (NAMES[expected.argmax()], pytest.approx(expected.max(), abs=3e-3))
    told = runs(sys.executable, "classify.py", place / "deep.png", code=1).stderr
    assert told == f"{place / 'deep.png'}: has 16 bits a pixel; save it with 8\n"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("image", r"wide\.png: is no image that .*; give a JPEG"),
        ("model", r"export/model\.onnx: is no model that ONNX Runtime reads.*; export it again"),
        ("contract", r"export/contract\.json: is no contract of an export; write one with"),
        ("float", r"export: takes normalised numbers, not pixels; export it with --with-preprocess"),
        ("words", r"classify(\.py)?: takes two arguments; "),
    ],
)
def test_bad_input_is_one_line(program, place, tmp_path, damage, message):
    shutil.copytree(place, tmp_path, dirs_exist_ok=True)
    file = {"image": tmp_path / "wide.png", "model": tmp_path / "export/model.onnx"}.get(
        damage, tmp_path / "export/contract.json"
    )
    text = file.read_text().replace("uint8", "float32") if damage == "float" else "no such thing"
    if damage != "words":
        file.write_text(text)
    done = runs(*program, tmp_path / "export", *([] if damage == "words" else [tmp_path / "wide.png"]), code=1)
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert re.search(message, line), line
