"""`ssld tune`: real trials of a tiny network, trained and compared on what its lists say, stopped and gone on with."""

import json
import os
import signal
import subprocess
import time

from ssld.data import fake
from tests.e2e.command import command, ssld, surroundings, write_recipe

TREE = {
    "classes": 4,
    "student": {"arch": "MobileNetV3_small_x0_35"},
    "teacher": {"arch": "MobileNetV3_small_x0_35", "stage": "teach", "norm": "running"},
    "stage": {
        "data": {"train": ["d/train_labelled.txt"], "val": "d/nowhere.txt", "size": 24, "batch": 8, "threads": 1},
        "optim": {"lr": 0.01},
    },
    "stages": {
        "teach": {"network": "teacher", "epochs": 2, "eval_every": 2, "loss": {"ce": {}}},
        "distill": {
            "epochs": 2,
            "eval_every": 2,
            "data": {"train": ["d/train_labelled.txt", "d/train_unlabelled.txt"]},
            "loss": {"kl": {"temperature": 2.0}},
        },
    },
}
WORDS = ("tune", "some.yaml", "--term", "kl", "--out", "out", "--held-out", "0.5", "--wandb", "disabled")


def test_trials_share_their_teacher_never_see_the_validation_images_and_go_on_after_a_kill(tmp_path):
    fake(tmp_path / "data" / "d", 4, train=32, val=0, unlabelled=8, size=20)  # there is no list nowhere.txt
    write_recipe(tmp_path, TREE)
    options = {"cwd": tmp_path, "env": surroundings(), "stderr": subprocess.DEVNULL}
    killed = subprocess.Popen(command(*WORDS, "--budget", "2"), **options)
    end = time.monotonic() + 240
    while not list(tmp_path.glob("out/trials/*/stages/distill-*/stage.json")) and time.monotonic() < end:
        time.sleep(0.05)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait(60)
    (trained,) = tmp_path.glob("out/trials/*/stages/distill-*/model.safetensors")
    before = trained.stat().st_mtime_ns
    done = ssld(*WORDS, "--budget", "3", "--jobs", "2", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert trained.stat().st_mtime_ns == before
    logs = [file.read_text() for file in tmp_path.glob("out/trials/*.log")]
    assert sum("teach: taken over from" in log for log in logs) == 2
    assert [(row["trial"], row["state"]) for row in result["rows"]] == [(number, "finished") for number in (1, 2, 3)]
    for row in result["rows"]:
        (folder,) = tmp_path.glob(f"out/trials/some-{row['digest'][:8]}")
        trial = json.loads((folder / "result.json").read_text())
        assert trial["images"]["val"] == 16
        assert trial["top1"] == row["top1"]
        assert trial["export"] == {}
        assert trial["bench"] == []
        assert "This run was not exported." in (folder / "report.html").read_text()
    assert "# kl of some.yaml: 3 of 3 trials" in (tmp_path / "out/tune.md").read_text()
