"""Files are whole or not there; what killed processes have not finished is cleared away; errors name their file."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ssld import files
from ssld.errors import DeployError
from ssld.files import clear, differences, exchange, is_empty, place_of, unfinished, whole, write_whole, writing

NOBODY = 4194304  # no process has this number
ROOT = Path(__file__).parents[2]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_block_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    file = tmp_path / "a.json"
    write_whole(file, "old")

    def half(error):
        with whole(file) as partial:
            partial.write_text("ne")
            raise error

    for error in (OSError(errno.ENOSPC, "full"), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            half(error)
    assert (names(tmp_path), file.read_text()) == (["a.json"], "old")
    write_whole(file, "new")
    assert (names(tmp_path), file.read_text(), file.stat().st_mode & 0o111) == (["a.json"], "new", 0)


WRITES = """
import sys
from pathlib import Path
from ssld.files import alone, unfinished, whole
file, folder = Path(sys.argv[1]) / "a.json", unfinished(Path(sys.argv[1]) / "export")
folder.mkdir()
with whole(file) as partial, alone(folder):
    partial.write_text("half")
    print("in", flush=True)
    sys.stdin.read()
"""


def test_what_a_killed_process_left_is_cleared_and_what_a_living_one_writes_is_not(tmp_path):
    command = [sys.executable, "-c", WRITES, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True, **pipes)
    assert process.stdout.readline() == "in\n"
    left = [f"a.json.partial-{process.pid}", f"export.partial-{process.pid}"]
    mine = ["b.partial", "notes.partial-x"]
    for name in mine:
        (tmp_path / name).write_text("of a user")
    clear(tmp_path)
    assert names(tmp_path) == sorted([*left, *mine])
    process.kill()
    process.communicate()
    clear(tmp_path, "a.json")
    assert names(tmp_path) == sorted([left[1], *mine])
    clear(tmp_path)
    assert names(tmp_path) == mine


def test_where_there_are_no_locks_nothing_is_cleared(tmp_path, monkeypatch):
    def refuse(*options):
        raise OSError(errno.ENOLCK, "No locks available")

    (tmp_path / f"a.partial-{NOBODY}").write_text("half")
    monkeypatch.setattr(files.fcntl, "flock", refuse)
    write_whole(tmp_path / "b", "whole")
    clear(tmp_path)
    assert names(tmp_path) == [f"a.partial-{NOBODY}", "b"]


def test_a_folder_is_empty_but_for_what_is_not_finished(tmp_path):
    assert not is_empty(tmp_path / "none")
    assert is_empty(tmp_path)
    (tmp_path / f"plan.yaml.partial-{NOBODY}").write_text("")
    assert is_empty(tmp_path)
    (tmp_path / "fresh").write_text("")
    assert is_empty(tmp_path, but="fresh")
    assert not is_empty(tmp_path)
    assert not is_empty(tmp_path / "fresh")


@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "in three steps"])
def test_two_folders_exchange_their_names(at_once, tmp_path, monkeypatch):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "is").write_text(name)
    if not at_once:
        monkeypatch.setattr(files.ctypes, "CDLL", lambda name: None)
    exchange(tmp_path / "one", tmp_path / "other")
    assert [(tmp_path / name / "is").read_text() for name in ("one", "other")] == ["other", "one"]
    assert names(tmp_path) == ["one", "other"]


def told(error, place="/runs/export"):
    with pytest.raises(DeployError) as caught, writing(place, DeployError, "choose another --out"):
        raise error
    return str(caught.value)


def test_an_error_names_the_file_that_the_system_names():
    denied = errno.EACCES, "Permission denied"
    assert (
        told(OSError(*denied, "/root/.cache/x"))
        == "/root/.cache/x: Permission denied; mend that and repeat the command"
    )
    inside = f"/runs/.export.partial-{NOBODY}/model.onnx"
    assert told(OSError(*denied, inside)) == (
        "/runs/export/model.onnx: cannot be written (Permission denied); choose another --out"
    )
    for named in ("/runs", None):
        where = named or "/runs/export"
        assert told(OSError(*denied, named)) == f"{where}: cannot be written (Permission denied); choose another --out"
    full = OSError(errno.ENOSPC, "No space left on device")
    assert told(full) == "/runs/export: the disk is full; free some space; choose another --out"


def test_the_file_of_an_error_is_called_as_it_will_be_when_it_is_whole(tmp_path):
    file = tmp_path / "none" / "a.json"
    with pytest.raises(OSError) as caught, whole(file):  # noqa: PT011 - what it says is looked at
        raise AssertionError("there is no such folder")
    assert place_of(caught.value, "elsewhere") == str(file)
    assert place_of(OSError(errno.EIO, "Input/output error"), "elsewhere") == "elsewhere"
    assert unfinished(file).name == f"a.json.partial-{os.getpid()}"


def test_the_difference_of_two_trees_is_named_by_its_key():
    old, new = {"a": {"b": [1, 2], "c": 3}, "d": 4}, {"a": {"b": (1, 2), "c": 5}, "e": None}
    assert list(differences(new, old)) == [("a.c", 5, 3), ("d", None, 4)]
