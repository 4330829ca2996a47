"""Files are whole or not there, and what is read back is what was written, or one line says why not."""

import errno
import os
import time

import numpy as np
import pytest

from ssld import files
from ssld.errors import SsldError, WeightsError
from tests.campaign.damage import WAYS, damage

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


def test_a_folder_with_nothing_but_what_a_killed_process_left_is_unused(tmp_path):
    assert files.is_unused(tmp_path / "none")
    assert files.is_unused(tmp_path)
    for name in ("plan.yaml.partial", "shard.labels.partial-123", ".export.previous.partial"):
        (tmp_path / name).write_text("")
    assert files.is_unused(tmp_path)
    (tmp_path / "my.partial.notes").write_text("")
    assert not files.is_unused(tmp_path)
    assert not files.is_unused(tmp_path / "my.partial.notes")


def test_a_filled_folder_takes_the_place_of_the_old_one(tmp_path):
    for name, content in (("export", "old"), (".export.partial-1", "new"), (".export.previous.partial", "older")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model").write_text(content)
    files.put_in_place(tmp_path / ".export.partial-1", tmp_path / "export")
    assert [path.name for path in tmp_path.iterdir()] == ["export"]
    assert (tmp_path / "export" / "model").read_text() == "new"
