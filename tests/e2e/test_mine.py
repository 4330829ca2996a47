"""`ssld mine` as a user types it; a kill at any time costs at most the shard that was being scored."""

import json
import os
import signal
import subprocess
import time

import numpy as np
import pytest
import yaml

from ssld import models, weights
from tests.e2e.command import command, fails, succeeds, surroundings
from tests.unit.mine_place import plain, png, tiles, write_tar, write_validation

TARS = 8


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a teacher of fresh weights, a validation list and a pool of tars."""
    root = tmp_path_factory.mktemp("mine")
    network = models.create("MobileNetV3_small_x0_35", num_classes=3, in_size=32)
    bias = list(network.parameters())[-1]
    bias.set_value(np.float32([-2, 2, -2]))  # the label of the validation images, 0, is never its answer
    weights.save(network, root / "teacher.safetensors")
    network_input = {"size": 32, "resize": 36, "mean": [0.5] * 3, "std": [0.5] * 3}
    card = {
        "arch": "MobileNetV3_small_x0_35",
        "top1": 90.0,
        "source": "a test",
        "params": 388_797,
        "macs": 551_608,
        "input": network_input,
    }
    card["weights"] = {"url": "https://example.org/none", "path": "weights/none.safetensors"}
    (root / "card.yaml").write_text(yaml.safe_dump(card))
    write_validation(root / "val", tiles("flower")[:2])
    for number in range(TARS):
        images = {f"{colour}.png": png(plain(colour, 80 + 20 * number)) for colour in range(3)}
        write_tar(root / f"{number}.tar", images)
    return root


def words(*changes, out="out"):
    tars = [f"{number}.tar" for number in range(TARS)]
    fixed = ["--teacher", "card.yaml", "--weights", "teacher.safetensors", "--against", "val/val.txt", "--gate", "0"]
    return ["mine", *tars, *fixed, "--k", "3", "--out", out, *changes]


def test_a_killed_mining_resumes_with_what_it_has_and_ends_alike(place):
    whole = json.loads(succeeds(*words("--json", out="a/whole"), cwd=place))
    killed = subprocess.Popen(command(*words(out="b/out")), cwd=place, env=surroundings(), stderr=subprocess.DEVNULL)
    for _ in range(6000):
        if done := [*(place / "b/out").glob("scores-*/*.npz")]:
            break
        time.sleep(0.01)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    written = {file: file.stat().st_mtime_ns for file in done}
    assert written
    succeeds(*words(out="b/out"), cwd=place)
    assert {file: file.stat().st_mtime_ns for file in written} == written
    for name in ("mined.txt", "mining.json", "sheet.html"):
        assert (place / "b/out" / name).read_bytes() == (place / "a/whole" / name).read_bytes()
    assert whole["images"] == 3 * TARS
    assert whole["selected"] == len((place / whole["list"]).read_text().splitlines())


WRONG = {
    "validation list": (
        ["--against", "none.txt"],
        "none.txt: no such list file; check the path or run `ssld data prepare`",
    ),
    "teacher": (
        ["--teacher", "ResNet50_vdd"],
        "no card named 'ResNet50_vdd' in teachers/; did you mean 'ResNet50_vd'?; see `ssld list teachers`",
    ),
    "weights": (
        ["--weights", "none.safetensors"],
        "teacher card.yaml: no weights at none.safetensors; download https://example.org/none to there, or give "
        "--weights",
    ),
    "part": (["--part", "3/2"], "--part 3/2: give I/N with I from 1 to N, e.g. 2/4"),
}


@pytest.mark.parametrize(("changes", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_input_is_one_line(place, changes, message):
    assert fails(*words(*changes), cwd=place) == f"ssld mine: {message}"


def test_a_teacher_that_is_not_what_its_card_says_is_refused_before_anything_is_scored(place):
    line = fails(*words("--gate", "2", out="gate"), cwd=place, begun=True)
    assert "top-1 on 2 validation images, its card says 90.00; check the weights" in line
    assert "(--gate 0 skips this check)" in line
    assert not [*(place / "gate").glob("scores-*/*")]
    succeeds(*words("--k", "2", out="gate"), cwd=place)  # the folder is not lost to another try
