"""A moment of writing does nothing by itself; $SSLD_FAULT lets the process end in it, or the system fail."""

import errno
import os
import signal
import subprocess
import sys

import pytest

from ssld import faults, files
from tests.unit.test_imports import ROOT


@pytest.fixture
def at(monkeypatch):
    """A function that sets the fault."""

    def asked(fault):
        monkeypatch.setattr(faults, "_passed", 0)
        monkeypatch.setenv(faults.FAULT, fault)

    return asked


@pytest.mark.parametrize(("moment", "kept"), [("begun", "old"), ("written", "old"), ("renamed", "new")])
def test_a_disk_that_fails_at_a_moment_leaves_the_old_file_or_the_new_one(at, tmp_path, moment, kept):
    file = tmp_path / "a.json"
    file.write_text("old")
    at(f"EIO {moment} *.json 1")
    with pytest.raises(OSError, match=r"a\.json") as caught:
        files.write_whole(file, "new")
    assert (caught.value.errno, caught.value.filename) == (errno.EIO, str(file))
    assert file.read_text() == kept
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_an_error_comes_from_its_number_on_and_for_its_files_alone(at, tmp_path):
    at("ENOSPC begun */b* 2")
    files.write_whole(tmp_path / "a", "1")
    files.write_whole(tmp_path / "b", "1")
    for _ in range(2):
        with pytest.raises(OSError, match="No space left"):
            files.write_whole(tmp_path / "b", "2")
    files.write_whole(tmp_path / "a", "2")
    assert ((tmp_path / "a").read_text(), (tmp_path / "b").read_text()) == ("2", "1")


def test_a_kill_comes_once_and_the_next_writer_removes_what_it_left(tmp_path, monkeypatch):
    code = (
        "import sys; from pathlib import Path; from ssld.files import write_whole; write_whole(Path(sys.argv[1]), '1')"
    )
    words, file = [sys.executable, "-c", code], tmp_path / "a"
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv(faults.FAULT, "KILL written * 1")
    assert subprocess.run([*words, file], check=False).returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert left.name.startswith("a.partial-")
    monkeypatch.setenv(faults.FAULT, "KILL renamed * 2")
    assert subprocess.run([*words, file], check=False).returncode == 0
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a", "1")]


def test_moments_are_told_on_standard_error(at, tmp_path, capsys):
    file = tmp_path / "a"
    at("TELL * * 1")
    files.write_whole(file, "1")
    assert capsys.readouterr().err == "".join(f"SSLD_FAULT {name} {file}\n" for name in ("begun", "written", "renamed"))


def test_nothing_happens_where_nothing_is_asked(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv(faults.FAULT, raising=False)
    files.write_whole(tmp_path / "a", "1")
    assert os.listdir(tmp_path) == ["a"]
    assert capsys.readouterr().err == ""
