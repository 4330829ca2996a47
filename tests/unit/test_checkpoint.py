"""Checkpoints are whole or invisible, whatever stops their writing and whatever happens to their bytes."""

import errno
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors import SafetensorError

from ssld.distill import checkpoint
from ssld.errors import RunError

KEYS = ("model", "optimizer")


@pytest.fixture(autouse=True)
def without_waiting_for_the_disk(monkeypatch):
    """A real fsync takes milliseconds, and there are thousands here; that each is called has a test of its own."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


def tensors(step):
    return {stem: {"a": np.full((3, 2), step, "float32"), "b": np.arange(step, dtype="int64")} for stem in KEYS}


def save(folder, *steps, **options):
    for step in steps:
        checkpoint.save(folder, step, tensors(step), {"seconds": step / 4}, **options)


def assert_is(found, step):
    """The checkpoint is the one of this step, whole."""
    assert found is not None
    assert (found.step, found.state["seconds"]) == (step, step / 4)
    assert found.tensors.keys() == set(KEYS)
    for stem, arrays in tensors(step).items():
        for key, array in arrays.items():
            np.testing.assert_array_equal(found.tensors[stem][key], array)
            assert found.tensors[stem][key].dtype == array.dtype


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_is_saved_comes_back_bit_for_bit(tmp_path):
    special = {"x": {"a": np.array([np.nan, -0.0, 1e-45, np.inf], "float32"), "b": np.arange(6.0).reshape(2, 3).T}}
    checkpoint.save(tmp_path / "deep" / "stage", 7, special, {"scaler": {"scale": [2.0]}, "seconds": 1.5})
    found = checkpoint.load(tmp_path / "deep" / "stage")
    assert found.tensors["x"]["a"].tobytes() == special["x"]["a"].tobytes()
    np.testing.assert_array_equal(found.tensors["x"]["b"], special["x"]["b"])
    assert found.state == {"step": 7, "scaler": {"scale": [2.0]}, "seconds": 1.5}


def test_the_newest_is_loaded_and_the_two_newest_are_kept(tmp_path):
    save(tmp_path, 2, 9, 10, 100)
    assert names(tmp_path) == ["checkpoint-00000010", "checkpoint-00000100"]
    assert_is(checkpoint.load(tmp_path), 100)


def test_a_folder_without_checkpoints_has_none(tmp_path):
    assert checkpoint.load(tmp_path) is None
    assert checkpoint.load(tmp_path / "missing") is None


def test_a_step_can_be_saved_again(tmp_path):
    save(tmp_path, 1, 2, 2)
    assert names(tmp_path) == ["checkpoint-00000001", "checkpoint-00000002"]
    assert_is(checkpoint.load(tmp_path), 2)


# --- faults while it is written

CALLS = [(os, "fsync"), (os, "open"), (Path, "rename"), (Path, "replace"), (Path, "mkdir"), (Path, "write_text")]
CALLS += [(shutil, "rmtree"), (checkpoint, "save_file")]


class Killed(BaseException):
    """Ends the process as SIGKILL does: nothing in the code under test catches it."""


def inject(monkeypatch, number, error, after):
    """Raise `error` before or after the `number`-th call that changes the disk; returns the list of calls made."""
    made = []

    def wrap(owner, name):
        real = getattr(owner, name)

        def call(*args, **kwargs):
            made.append(name)
            if len(made) - 1 != number:
                return real(*args, **kwargs)
            if after:
                real(*args, **kwargs)
            elif name == "save_file":
                Path(args[1]).write_bytes(b"half a file")
            raise error

        monkeypatch.setattr(owner, name, call)

    for owner, name in CALLS:
        wrap(owner, name)
    return made


@pytest.fixture(scope="module")
def calls(tmp_path_factory):
    """The names of the calls of a whole save, in order."""
    folder = tmp_path_factory.mktemp("calls")
    save(folder, 1, 2)
    with pytest.MonkeyPatch.context() as patch:
        made = inject(patch, -1, Killed(), after=False)
        save(folder, 3)
    return list(made)


def test_a_save_flushes_every_file_then_the_folder_and_only_then_gives_the_name(calls, tmp_path, monkeypatch):
    assert calls.count("rename") == 1
    done, opened, real_open, real_rename = [], {}, os.open, Path.rename

    def note_open(path, *options):
        handle = real_open(path, *options)
        opened[handle] = Path(path).name
        return handle

    def note_rename(path, target):
        done.append("renamed")
        return real_rename(path, target)

    monkeypatch.setattr(os, "open", note_open)
    monkeypatch.setattr(os, "fsync", lambda handle: done.append(opened[handle]))
    monkeypatch.setattr(Path, "rename", note_rename)
    save(tmp_path, 5)
    at = done.index("renamed")
    assert {"model.safetensors", "optimizer.safetensors", "state.json", "manifest.json"} <= set(done[:at])
    assert done[at - 1] == f"checkpoint-00000005.partial-{os.getpid()}"
    assert done[at + 1 :] == [tmp_path.name]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_kill_at_any_call_leaves_a_whole_checkpoint_and_the_next_save_works(calls, after, tmp_path):
    found = []
    for number in range(len(calls)):
        folder = tmp_path / str(number)
        save(folder, 1, 2)
        with pytest.MonkeyPatch.context() as patch:
            inject(patch, number, Killed(), after)
            with pytest.raises(Killed):
                save(folder, 3)
        left = checkpoint.load(folder)
        assert_is(left, left.step)
        found.append(left.step)
        save(folder, 3)
        assert_is(checkpoint.load(folder), 3)
        assert names(folder) == ["checkpoint-00000002", "checkpoint-00000003"]
    renamed = calls.index("rename") + (not after)
    assert found == [2] * renamed + [3] * (len(calls) - renamed)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_kill_while_a_step_is_saved_again_leaves_that_step_or_the_one_before(after, tmp_path):
    save(tmp_path / "calls", 1, 2)
    with pytest.MonkeyPatch.context() as patch:
        made = inject(patch, -1, Killed(), after)
        save(tmp_path / "calls", 2)
    for number in range(len(made)):
        folder = tmp_path / str(number)
        save(folder, 1, 2)
        with pytest.MonkeyPatch.context() as patch:
            inject(patch, number, Killed(), after)
            with pytest.raises(Killed):
                save(folder, 2)
        left = checkpoint.load(folder)
        assert_is(left, left.step)


FULL = "the disk is full; free some space"
FAULTS = [
    (OSError(errno.ENOSPC, "No space left on device"), FULL),
    (OSError(errno.EDQUOT, "Disk quota exceeded"), FULL),
    (OSError(errno.EIO, "Input/output error"), r"cannot be written \(Input/output error\)"),
    (SafetensorError("Error: I/O error: No space left on device (os error 28)"), FULL),
]


@pytest.mark.parametrize(("error", "message"), FAULTS, ids=["full", "quota", "broken", "full in safetensors"])
def test_a_disk_error_at_any_call_is_one_line_and_loses_nothing(calls, error, message, tmp_path):
    failed = 0
    for number, name in enumerate(calls):
        folder = tmp_path / str(number)
        save(folder, 1, 2)
        with pytest.MonkeyPatch.context() as patch:
            inject(patch, number, error, after=False)
            if name == "rmtree" and number < calls.index("save_file"):
                continue  # clears what a kill has left; its errors are met again by what follows
            with pytest.raises(RunError) as caught:
                save(folder, 3)
            assert re.search(rf"/{number}/checkpoint-00000003\S*: {message}.* repeat the command", str(caught.value))
            assert "\n" not in str(caught.value)
        left = checkpoint.load(folder)
        assert_is(left, left.step)
        assert left.step == (2 if number <= calls.index("rename") else 3)
        failed += 1
    assert failed >= len(calls) - 1


# --- damage


def flip(file):
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0xFF
    file.write_bytes(data)


def cut(file):
    file.write_bytes(file.read_bytes()[:-1])


def empty(file):
    file.write_bytes(b"")


FILES = ["model.safetensors", "optimizer.safetensors", "state.json", "manifest.json"]


HARMS = [(harm, name) for harm in (flip, cut, empty, Path.unlink) for name in FILES]
HARMS.remove((cut, "manifest.json"))  # its last byte is a line feed, which carries nothing


@pytest.mark.parametrize(("harm", "name"), HARMS, ids=[f"{harm.__name__} {name}" for harm, name in HARMS])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_taken(harm, name, tmp_path, capsys):
    save(tmp_path, 1, 2)
    assert names(tmp_path / "checkpoint-00000002") == sorted(FILES)
    harm(tmp_path / "checkpoint-00000002" / name)
    assert_is(checkpoint.load(tmp_path), 1)
    said = capsys.readouterr().err
    assert said.startswith(f"warning: {tmp_path}/checkpoint-00000002: damaged (")
    assert said.count("\n") == 1
    if harm is flip and name != "manifest.json":
        assert f"{name} has another sha256" in said


def test_any_flipped_byte_of_any_file_is_found(tmp_path, capsys):
    save(tmp_path, 1, 2)
    newest = tmp_path / "checkpoint-00000002"
    for name in FILES:
        whole = (newest / name).read_bytes()
        for place in range(0, len(whole), 7):
            (newest / name).write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
            assert checkpoint.load(tmp_path).step == 1, f"{name} at {place}"
        (newest / name).write_bytes(whole)
    assert checkpoint.load(tmp_path).step == 2


def test_with_every_checkpoint_damaged_there_is_none(tmp_path, capsys):
    save(tmp_path, 1, 2)
    for folder in tmp_path.iterdir():
        flip(folder / "model.safetensors")
    assert checkpoint.load(tmp_path) is None
    assert capsys.readouterr().err.count("damaged") == 2


def test_what_a_kill_left_under_its_temporary_name_is_never_read(tmp_path, capsys):
    save(tmp_path, 1, 2)
    (tmp_path / "checkpoint-00000002").rename(tmp_path / "checkpoint-00000002.partial-17")
    assert_is(checkpoint.load(tmp_path), 1)
    assert capsys.readouterr().err == ""


# --- single JSON files


def test_a_json_file_is_the_old_or_the_new_one_at_every_fault(tmp_path):
    file = tmp_path / "stage.json"
    with pytest.MonkeyPatch.context() as patch:
        made = inject(patch, -1, Killed(), after=False)
        checkpoint.write_json(file, {"n": "old"})
    seen = []
    for after in (False, True):
        for number in range(len(made)):
            checkpoint.write_json(file, {"n": "old"})
            with pytest.MonkeyPatch.context() as patch:
                inject(patch, number, Killed(), after)
                with pytest.raises(Killed):
                    checkpoint.write_json(file, {"n": "new"})
            seen.append(json.loads(file.read_text())["n"])
    renamed = made.index("replace")
    before, after = ["old"] * renamed, ["new"] * (len(made) - renamed - 1)
    assert seen == [*before, "old", *after, *before, "new", *after]


def test_a_json_file_on_a_full_disk_is_one_line(tmp_path):
    (tmp_path / f"result.json.partial-{os.getpid()}").symlink_to("/dev/full")
    with pytest.raises(RunError, match=r"/result\.json: the disk is full; free some space; what was saved before"):
        checkpoint.write_json(tmp_path / "result.json", {"n": 1})
    assert not (tmp_path / "result.json").exists()
