"""Files are whole or not there, and what is read back is what was written, or one line says why not.

What killed processes have not finished is cleared away, and errors name their file.
"""

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ssld import files
from ssld.errors import DeployError, RunError, SsldError, WeightsError
from ssld.files import (
    check_target,
    clear,
    differences,
    exchange,
    is_empty,
    place_of,
    put_in_place,
    unfinished,
    whole,
    write_whole,
    writing,
)
from tests.campaign.damage import WAYS, damage

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
    assert is_empty(tmp_path, but=("fresh", "code"))
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


# --- reading

TREE = {"digest": "ab" * 32, "top1": 71.25, "names": ["é", "b"], "nested": {"a": None, "b": [1, 2.5, True]}}
ROWS = [{"network": "student", "p50_ms": "1.25"}, {"network": "teacher", "p50_ms": ""}]
ARRAYS = {"image": np.arange(48, dtype=np.uint8).reshape(4, 4, 3), "names": np.array(["a", "bc"])}
ADVICE = "make it anew"


def write_lines(file):
    file.write_text('{"stage": "teach", "step": 1}\n{"stage": "teach", "step": 2}\n')


def write_table(file):
    file.write_text("network,p50_ms\nstudent,1.25\nteacher,\n")


def write_arrays(file):
    with open(file, "wb") as stream:
        np.savez_compressed(stream, **ARRAYS)


def listed(arrays):
    return {key: array.tolist() for key, array in arrays.items()}


# format -> (write it, read it)
FORMATS = {
    "json": (lambda file: files.write_json(file, TREE), lambda file: files.read_json(file, ADVICE)),
    "text": (lambda file: files.write_whole(file, "onednn é\n"), lambda file: files.read_text(file, ADVICE)),
    "lines": (write_lines, lambda file: files.read_lines(file, ADVICE)),
    "table": (write_table, lambda file: files.read_table(file, ("network", "p50_ms"), ADVICE)),
    "arrays": (write_arrays, lambda file: listed(files.read_arrays(file, ADVICE))),
}


def test_what_was_written_comes_back(tmp_path):
    values = {}
    for name, (write, read) in FORMATS.items():
        write(tmp_path / name)
        values[name] = read(tmp_path / name)
    assert values == {
        "json": TREE,
        "text": "onednn é\n",
        "lines": ([{"stage": "teach", "step": 1}, {"stage": "teach", "step": 2}], b""),
        "table": ROWS,
        "arrays": listed(ARRAYS),
    }
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(FORMATS)


def message(read, file):
    """What a reader says of a file, or None where it reads it."""
    try:
        read(file)
    except SsldError as error:
        return str(error)
    return None


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_that_cannot_be_read_is_one_line_with_its_advice(name, tmp_path):
    """Whatever the damage, the reader raises nothing else; of JSON and arrays it finds every one."""
    write, read = FORMATS[name]
    file = tmp_path / "file"
    write(file)
    expected = read(file)
    for way in WAYS:
        write(file)
        if damage(file, way):
            said = message(read, file)
            if said is None:
                assert read(file) == expected or name in ("text", "lines", "table"), way
            else:
                assert said.startswith(f"{file}: "), way
                assert said.endswith(f"; {ADVICE}"), way
                assert "\n" not in said, way
        file.rmdir() if file.is_dir() else file.unlink(missing_ok=True)


@pytest.mark.parametrize("name", FORMATS)
def test_no_byte_makes_a_reader_raise_anything_else(name, tmp_path):
    write, read = FORMATS[name]
    file, rng = tmp_path / "file", np.random.default_rng(0)
    write(file)
    content, expected = file.read_bytes(), read(file)
    for _ in range(300):
        data = bytearray(content)
        for place in rng.integers(0, len(data), rng.integers(1, 4)):
            data[place] = rng.integers(0, 256)
        file.write_bytes(data[: len(data) if rng.random() < 0.7 else rng.integers(0, len(data))])
        if message(read, file) is None:
            assert read(file) == expected or name in ("text", "lines", "table"), bytes(data)


def test_a_json_file_of_an_early_version_has_no_checksum_and_an_edited_one_is_named(tmp_path):
    file = tmp_path / "stage.json"
    file.write_text('{"top1": 71.25}')
    assert files.read_json(file, ADVICE) == {"top1": 71.25}
    files.write_json(file, {"top1": 71.25})
    file.write_text(file.read_text().replace("71.25", "91.25"))
    with pytest.raises(WeightsError, match=r"stage.json: damaged \(its checksum is that of another content\); make it"):
        files.read_json(file, ADVICE, WeightsError)


def test_a_line_that_a_kill_cut_short_is_handed_over_and_any_other_is_named(tmp_path):
    file = tmp_path / "metrics.jsonl"
    file.write_text('{"step": 1}\n{"st')
    assert files.read_lines(file, ADVICE) == ([{"step": 1}], b'{"st')
    file.write_text('{"step": 1}\n{"st\n{"step": 3}\n')
    with pytest.raises(SsldError, match="line 2 is no record"):
        files.read_lines(file, ADVICE)


def test_a_digest_is_taken_once_and_anew_when_the_file_changed(tmp_path, monkeypatch):
    """The change keeps size and time of modification, as some copies do; the time of the change of state stays true."""
    file = tmp_path / "model"
    file.write_bytes(b"a" * 100)
    monkeypatch.setattr(files, "SETTLED", -1)
    first, reads = files.sha256(file), []
    real = files.hashlib.sha256
    monkeypatch.setattr(files.hashlib, "sha256", lambda: reads.append(1) or real())
    assert files.sha256(file) == first
    assert reads == []
    before = file.stat()
    time.sleep(0.02)
    file.write_bytes(b"b" * 100)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert files.sha256(file) == real(b"b" * 100).hexdigest()
    assert reads == [1]


def test_a_file_that_was_just_written_is_not_remembered(tmp_path):
    """Two changes in one tick of the clock of a file system have one time."""
    file = tmp_path / "model"
    for content in (b"a", b"b", b"a") * 20:
        file.write_bytes(content)
        assert files.sha256(file) == files.hashlib.sha256(content).hexdigest()


def test_a_file_that_could_not_be_written_leaves_nothing(tmp_path, monkeypatch):
    file = tmp_path / "result.json"
    file.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        files.write_whole(file, "half \udcff")

    def full(path):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "flush", full)
    with pytest.raises(OSError, match="No space left"):
        files.write_json(file, TREE)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"result.json": "old"}


def test_a_filled_folder_takes_the_place_of_the_old_one_and_is_on_the_disk_before(tmp_path, monkeypatch):
    new, folder, flushed = tmp_path / f".export.partial-{NOBODY}", tmp_path / "export", []
    for path, content in ((folder, "old"), (new, "new")):
        path.mkdir()
        (path / "model").write_text(content)
    monkeypatch.setattr(files, "flush", lambda path: flushed.append((path, (folder / "model").read_text())))
    put_in_place(new, folder)
    assert [(path / "model").read_text() for path in (folder, new)] == ["new", "old"]
    assert flushed == [(new / "model", "old"), (new, "old"), (tmp_path, "new")]
    put_in_place(new, tmp_path / "other")
    assert names(tmp_path) == ["export", "other"]


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir], ids=["pipe", "folder"])
def test_what_is_neither_a_file_nor_a_link_is_not_replaced(tmp_path, make):
    target = tmp_path / "a"
    make(target)
    kind = target.stat().st_mode
    with pytest.raises(OSError, match=r"regular file|directory") as caught:
        write_whole(target, "1")
    assert caught.value.filename == str(target)
    with pytest.raises(RunError, match=rf"^{target}: .*; choose another$"):
        check_target(target, RunError, "choose another")
    assert target.stat().st_mode == kind
    assert os.listdir(tmp_path) == ["a"]


def test_a_link_is_replaced_and_what_it_names_is_kept(tmp_path):
    (tmp_path / "named").write_text("0")
    (tmp_path / "link").symlink_to("named")
    check_target(tmp_path / "link", RunError, "choose another")
    write_whole(tmp_path / "link", "1")
    assert [(tmp_path / name).read_text() for name in ("link", "named")] == ["1", "0"]
