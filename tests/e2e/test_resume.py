"""A run that is killed or stopped, and one that is shared by several processes, end with the weights of a plain run."""

import json
import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from ssld import weights
from ssld.config import recipe
from ssld.data import fake
from tests.e2e.command import command, ssld, succeeds, surroundings, unread, write_recipe
from tests.unit.event_file import curves
from tests.unit.wandb_file import kinds, plain

TREE = {
    "classes": 4,
    "student": {"arch": "MobileNetV3_small_x0_35"},
    "teacher": {"arch": "MobileNetV3_small_x0_5", "stage": "teach"},
    "stage": {
        "data": {
            "train": ["d/train_labelled.txt"], "val": "d/val.txt", "size": 16, "batch": 8, "eval_batch": 8, "threads": 1
        },
        "optim": {"lr": 0.05, "warmup_epochs": 1, "weight_decay": 1e-4, "ema": 0.9},
        "checkpoint_minutes": 0.002,  # some steps are lost by a kill, some not
    },
    "stages": {
        "teach": {"network": "teacher", "epochs": 2, "loss": {"ce": {}}},
        "distill": {
            "epochs": 8,
            "loss": {
                "ssld": {},
                "ce": {"weight": 0.1, "unlabelled": "teacher_argmax"},
                "pair": {"kind": "kl", "student_view": "strong", "min_teacher": {"value": 0.26, "kind": "soft"}},
            },
            "data": {
                "train": ["d/train_labelled.txt", "d/train_unlabelled.txt"],
                "augment": {"mixup": 0.2},
                "views": {"strong": {"auto": "randaugment", "erase": 0.5}},
            },
        },
    },
    "export": {"formats": ["paddle"], "gate_images": 8},
    "bench": {"engines": ["paddle"], "repeats": 2, "warmup": 1},
}  # fmt: skip
STEPS = {"teach": 4, "distill": 24}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A working folder with a recipe, its images, and the uninterrupted run `whole/run`, whose output nobody reads."""
    place = tmp_path_factory.mktemp("place")
    fake(place / "data" / "d", 4, train=16, val=8, unlabelled=8, size=20)
    write_recipe(place, TREE)
    assert unread(*run("whole/run"), cwd=place, read=100) == 0
    assert (place / "whole/run/result.json").is_file()
    return place


def run(out, *words, recipe="some.yaml"):
    return ["run", recipe, "--wandb", "disabled", "--out", out, *words]


def state(run, stage):
    (file,) = run.glob(f"stages/{stage}-*/model.safetensors")
    return {key: value.tobytes() for key, value in weights.load(file).items()}


def records(run):
    """The lines of metrics.jsonl without the speed."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "images_per_second"} for line in lines]


def stopped(place, out, number, after, *words, metrics=None, recipe="some.yaml"):
    """Start the run in `out`, send it and its group the signal, as a terminal does, when `metrics.jsonl` has `after`
    lines; its exit code and errors."""
    process = subprocess.Popen(
        command(*run(out, *words, recipe=recipe)), cwd=place, env=surroundings(),
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        text=True, start_new_session=True,
    )  # fmt: skip
    metrics, limit = metrics or place / out / "metrics.jsonl", time.monotonic() + 120
    while not (metrics.is_file() and metrics.read_bytes().count(b"\n") >= after):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < limit
        time.sleep(0.002)
    os.killpg(process.pid, number)
    _, errors = process.communicate(timeout=120)
    return process.returncode, errors


def assert_ends_like_the_whole_run(place, out, *words):
    succeeds(*run(out, *words), cwd=place)
    for stage, steps in STEPS.items():
        assert state(place / out, stage) == state(place / "whole/run", stage)
        found = [(line["kind"], line["step"]) for line in records(place / out) if line["stage"] == stage]
        assert [step for kind, step in found if kind == "train"] == list(range(1, steps + 1))
    assert records(place / out) == records(place / "whole/run")


def test_a_run_killed_at_four_steps_ends_with_the_same_weights_bit_for_bit_and_whole_curves(place):
    """In its first stage and three times in its second; W&B and TensorBoard show every step once."""
    words = ["--wandb", "offline", "--tensorboard"]
    for after in (2, 9, 17, 30):
        code, _ = stopped(place, "again/run", signal.SIGKILL, after, *words)
        assert code == -signal.SIGKILL
        assert not (place / "again/run/result.json").exists()
    assert_ends_like_the_whole_run(place, "again/run", *words)
    folder = place / "again/run"
    assert len(list(folder.glob("wandb/offline-run-*"))) == 1
    rows = [plain(record.item) for record in kinds(folder, "history")]
    assert [row["_step"] for row in rows if "_step" in row] == sorted({row["_step"] for row in rows if "_step" in row})
    for stage, steps in STEPS.items():
        logged = [line for line in records(folder) if (line["stage"], line["kind"]) == (stage, "train")]
        every = [(step, logged[step - 1]["loss"]) for step in range(1, steps + 1)]
        key = f"{stage}/train/loss"
        assert [(row[f"{stage}/step"], row[key]) for row in rows if key in row] == every
        assert curves(folder / "tensorboard" / stage)["train/loss"] == every  # float32 in both


def test_ctrl_c_and_a_closed_terminal_save_the_step_say_so_and_the_same_command_resumes(place):
    for number, after in ((signal.SIGINT, 12), (signal.SIGHUP, 24)):
        code, errors = stopped(place, "stopped/run", number, after)
        assert code == 130
        assert errors.splitlines()[-1] == "ssld run: stopped; the same command resumes"
        assert "Traceback" not in errors
        done = max(line["step"] for line in records(place / "stopped/run") if line["stage"] == "distill")
        assert any((place / "stopped/run").glob(f"stages/distill-*/checkpoint-{done:08d}/manifest.json"))
    assert_ends_like_the_whole_run(place, "stopped/run")


def test_ctrl_c_while_seeds_run_saves_the_step_of_the_seed_that_runs(place):
    """That a command of several seeds resumes is asked below, of one that was killed."""
    words = ["--seeds", "2", "--experiments", "kept"]
    digest = json.loads(succeeds("show", "some.yaml", "seed=0", "--json", cwd=place))["digest"][:8]
    first = place / "seeds" / f"some-{digest}"
    code, errors = stopped(place, "seeds", signal.SIGINT, 12, *words, metrics=first / "metrics.jsonl")
    assert (code, errors.splitlines()[-1]) == (130, "ssld run: stopped; the same command resumes")
    done = max(line["step"] for line in records(first) if line["stage"] == "distill")
    assert any(first.glob(f"stages/distill-*/checkpoint-{done:08d}/manifest.json"))
    succeeds(*run(first.relative_to(place), "seed=0"), cwd=place)
    assert state(first, "distill") == state(place / "whole/run", "distill")


GROWN = {
    **{key: TREE[key] for key in ("classes", "student", "stage", "export", "bench")},
    "stages": {"plain": {"epochs": 12, "loss": {"ce": {}}}},
}


def written(*folders):
    """When each file of the finished stages and the result was written."""
    files = [file for folder in folders for file in (*folder.glob("stages/*/*"), folder / "result.json")]
    return {file: file.stat().st_mtime_ns for file in files}


def processes_in(place, out):
    """Processes that were started in `place` to work on the run `out`."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or is not ours
            words = (folder / "cmdline").read_bytes().decode(errors="replace")
            if out in words and (folder / "cwd").resolve() == place.resolve():
                found.append(int(folder.name))
    return found


def assert_nobody_works_on(place, out):
    """Within a minute; what is left is ended."""
    limit = time.monotonic() + 60
    while processes_in(place, out) and time.monotonic() < limit:
        time.sleep(0.05)
    left = processes_in(place, out)
    for number in left:
        os.kill(number, signal.SIGKILL)
    assert not left


def test_killed_seeds_resume_and_more_seeds_reuse_those_that_are_done(place):
    """The kill reaches the typed command alone; the process of its seed must not train on beside another."""
    write_recipe(place, GROWN, "grown.yaml")
    words = ["run", "grown.yaml", "--wandb", "disabled", "--out", "more", "--experiments", "grown", "--seeds"]
    digests = [recipe.load(place / "grown.yaml", [f"seed={seed}"]).digest for seed in range(3)]
    first, second, third = (place / "more" / f"grown-{digest[:8]}" for digest in digests)
    code, _ = stopped(
        place, "more", signal.SIGKILL, 4, *words[6:], "2", metrics=first / "metrics.jsonl", recipe="grown.yaml"
    )
    assert code == -signal.SIGKILL
    assert_nobody_works_on(place, f"more/{first.name}")
    assert not (first / "result.json").exists()
    succeeds(*words, "2", cwd=place)
    before, recorded = written(first, second), sorted((place / "grown/results/grown").iterdir())
    kept = [file.read_bytes() for file in recorded]
    assert [file.stem for file in recorded] == sorted(digest[:12] for digest in digests[:2])
    (place / "grown/REPORT.md").write_text("of before")
    done = ssld(*words, "3", cwd=place)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("already finished") == 2
    assert written(first, second) == before
    assert [file.read_bytes() for file in recorded] == kept
    assert (third / "result.json").is_file()
    assert json.loads((place / "grown/grown.json").read_text())["seeds"] == [0, 1, 2]
    assert "| [grown](grown.md) | a recipe that is not on the shelf |" in (place / "grown/REPORT.md").read_text()


# --- several processes

SHARED = {
    **{key: TREE[key] for key in ("classes", "student", "export", "bench")},
    "stage": {
        "data": {**TREE["stage"]["data"], "size": 64},  # maps of one pixel and four images would be all rounding
        "optim": {"lr": 0.005, "weight_decay": 1e-4},
        "checkpoint_minutes": 0,
    },
    "stages": {"plain": {"epochs": 2, "loss": {"ce": {}}}},
}


HELPED = {
    **SHARED,
    # A ReLU that flips for a difference of 1e-7 moves a gradient by more than that: small steps keep it small.
    "stage": {**SHARED["stage"], "optim": {"lr": 1e-5, "weight_decay": 1e-4}},
    "teacher": {"arch": "ResNet18", "stage": "teach", "norm": "running"},
    "student": {"arch": "ResNet18"},  # without dropout: its draws follow the micro-batch
    "stages": {
        "teach": {"network": "teacher", "epochs": 1, "sync_bn": True, "loss": {"ce": {}}},
        "plain": {
            "epochs": 2,
            "sync_bn": True,
            "loss": {
                "ce": {},
                "hint": {"student": "stage2", "teacher": "stage2"},
                "crd": {"width": 8, "negatives": 16, "weight": 0.1},
            },
        },
    },
}


def shared(place, out, ranks, *words, tree=SHARED):
    """The weights of stage plain, and the result, of a run by so many processes."""
    write_recipe(place, tree, "shared.yaml")
    done = ssld(*run(f"{out}/run", *words, "--ranks", ranks, "--json", recipe="shared.yaml"), cwd=place)
    log = "\n".join(file.read_text() for file in (place / out).glob("run.ranks/workerlog.*"))
    assert done.returncode == 0, done.stderr + log
    assert "taken over" not in done.stderr + log
    (file,) = (place / out).glob("run/stages/plain-*/model.safetensors")
    return weights.load(file), json.loads(done.stdout)


def largest_difference(one, other, keys):
    return max(np.abs(one[key] - other[key]).max() for key in keys)


def test_two_ranks_are_two_micro_batches_of_one_process_dropout_included(place):
    one, _ = shared(place, "micro", 1, "stages.plain.optim.accumulate=2")
    two, result = shared(place, "ranks", 2)
    trained = [key for key in one if not key.endswith(("._mean", "._variance"))]  # each rank has its own statistics
    assert largest_difference(one, two, trained) < 1e-5
    assert result["stages"]["plain"]["ranks"] == 2
    lines = records(place / "ranks/run")
    assert [line["step"] for line in lines if line["kind"] == "train"] == [1, 2, 3, 4]  # rank 0 alone writes


def test_ctrl_c_stops_all_ranks_at_one_step_and_saves_it(place):
    write_recipe(place, SHARED, "shared.yaml")
    words = ["--ranks", "2", "stages.plain.epochs=60", "stages.plain.checkpoint_minutes=60"]
    code, errors = stopped(place, "ended/run", signal.SIGINT, 8, *words, recipe="shared.yaml")
    assert (code, errors.splitlines()[-1]) == (130, "ssld run: stopped; the same command resumes")
    done = records(place / "ended/run")[-1]["step"]
    assert 8 <= done + 4 < 120  # lines of evaluations count as well
    assert any((place / "ended/run").glob(f"stages/plain-*/checkpoint-{done:08d}/manifest.json"))


def test_ranks_end_with_the_command_that_was_killed(place):
    write_recipe(place, {**GROWN, "stages": {"plain": {"epochs": 4000, "loss": {"ce": {}}}}}, "long.yaml")
    code, _ = stopped(place, "long/run", signal.SIGKILL, 4, "--ranks", "2", recipe="long.yaml")
    assert code == -signal.SIGKILL
    assert_nobody_works_on(place, "long/run")


def helpers(place, out):
    """The layers that the losses of stage plain own, at its end."""
    *_, folder = sorted((place / out).glob("run/stages/plain-*/checkpoint-*"))
    return load_file(folder / "helpers.safetensors")


def test_two_ranks_with_shared_batch_statistics_are_one_process_with_a_hint_and_a_memory_too(place):
    one, alone = shared(place, "undivided", 1, tree=HELPED)
    two, both = shared(place, "synchronised", 2, tree=HELPED)
    assert largest_difference(one, two, one) < 1e-5
    kept, other = helpers(place, "undivided"), helpers(place, "synchronised")
    assert {"crd.memory_s.rows", "hint.conv.weight"} <= kept.keys() == other.keys()
    relative = {key: max(1, np.abs(value).max()) for key, value in kept.items()}
    assert max(np.abs(kept[key] - other[key]).max() / relative[key] for key in kept) < 1e-5
    assert both["stages"]["plain"]["loss"] == pytest.approx(alone["stages"]["plain"]["loss"], abs=1e-5)
