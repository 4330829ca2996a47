"""List files: what is read, and what every mistake in them says."""

import os
import time
from pathlib import Path

import numpy as np
import pytest

from ssld.data.lists import MOST_CLASSES, class_names, count_lines, list_text, read_list, read_names, write_list
from ssld.errors import DataError


@pytest.fixture
def lines(tmp_path):
    def write(text, name="list.txt"):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    return write


def test_a_line_is_a_path_and_a_label_with_spaces_allowed_in_the_path(lines, tmp_path):
    files = read_list(lines("a.jpg 0\nmy holiday/b c.png\t2\n\n  d.JPEG   1  \n"), tmp_path, 3)
    assert files.paths == ["a.jpg", "my holiday/b c.png", "d.JPEG"]
    assert files.labels.tolist() == [0, 2, 1]
    assert files.labels.dtype == np.int64
    assert files.path(1) == str(tmp_path / "my holiday/b c.png")


def test_a_line_without_a_label_or_with_minus_one_is_unlabelled(lines, tmp_path):
    files = read_list(lines("a.jpg\nmy cat.png\nodd.name -1\nb.jpg 4\n"), tmp_path, 5)
    assert files.paths == ["a.jpg", "my cat.png", "odd.name", "b.jpg"]
    assert files.labels.tolist() == [-1, -1, -1, 4]


def test_the_lines_of_a_list_are_counted_as_it_is_read(lines, tmp_path):
    file = lines("a.jpg 0\n\nb c.png\n   \nd.jpg 1")
    assert count_lines(file) == len(read_list(file, tmp_path)) == 3
    with pytest.raises(DataError, match=r"none\.txt: cannot be read \(No such file or directory\); give a readable"):
        count_lines(tmp_path / "none.txt")


def test_windows_line_ends_and_a_missing_last_line_end_do_no_harm(lines, tmp_path):
    (tmp_path / "crlf.txt").write_bytes(b"a.jpg 1\r\nb.jpg\r\nc.jpg 0")
    files = read_list(tmp_path / "crlf.txt", tmp_path)
    assert (files.paths, files.labels.tolist()) == (["a.jpg", "b.jpg", "c.jpg"], [1, -1, 0])


def test_several_lists_are_read_one_after_the_other(lines, tmp_path):
    files = read_list([lines("a.jpg 1\n", "1.txt"), lines("b.jpg\nc.jpg\n", "2.txt")], tmp_path, 2)
    assert (files.paths, files.labels.tolist()) == (["a.jpg", "b.jpg", "c.jpg"], [1, -1, -1])
    assert files.subset(np.array([2, 0])).paths == ["c.jpg", "a.jpg"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.jpg 0\nb.jpg cat\n", r"list\.txt:2: bad line 'b\.jpg cat'"),
        ("a.jpg 0\n\nb.jpg 1.5\n", r"list\.txt:3: bad line"),
        ("a.jpg 0\n\nb.jpg 3\n", r"list\.txt:3: label 3 is out of range; the recipe has 3 classes"),
        ("a.jpg -2\n", r"list\.txt:1: label -2 is out of range"),
        ("\n \n", r"list\.txt: the list has no line"),
    ],
)
def test_a_bad_line_is_named_with_file_and_number(lines, tmp_path, text, message):
    with pytest.raises(DataError, match=message) as error:
        read_list(lines(text), tmp_path, 3)
    assert "\n" not in str(error.value)


def test_a_missing_list_and_a_missing_folder_are_named(lines, tmp_path):
    with pytest.raises(DataError, match=r"nothing\.txt: no such list file"):
        read_list(tmp_path / "nothing.txt", tmp_path)
    with pytest.raises(DataError, match="gone: no such data folder"):
        read_list(lines("a.jpg 0\n"), tmp_path / "gone")
    with pytest.raises(DataError, match="cannot be read"):
        read_list(tmp_path, tmp_path)
    with pytest.raises(DataError, match="no list file given"):
        read_list([], tmp_path)


def test_of_a_missing_list_of_the_data_folder_it_is_said_where_that_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data/d").mkdir(parents=True)
    monkeypatch.delenv("SSLD_DATA", raising=False)
    unset = "recipes count from `data` in the current folder, for $SSLD_DATA is not set; check the path or run"
    for path, what in (("data/d", "no such list file"), ("data/none", "no such data folder")):
        with pytest.raises(DataError) as caught:
            read_list(f"{path}/train.txt", path)
        assert f"{what}; {unset}" in str(caught.value)
    monkeypatch.setenv("SSLD_DATA", str(tmp_path / "sets"))
    (tmp_path / "sets").mkdir()
    with pytest.raises(DataError, match=r"no such list file; recipes count from \$SSLD_DATA, which is .*/sets; "):
        read_list(tmp_path / "sets/train.txt", tmp_path / "sets")
    with pytest.raises(DataError, match=r"data/d/train\.txt: no such list file; check the path or run"):
        read_list("data/d/train.txt", "data/d")


def test_what_is_written_reads_back(tmp_path):
    paths = ["a b.jpg", "c.png", "no_suffix", "d.1"]
    write_list(tmp_path / "plain.txt", paths)
    write_list(tmp_path / "labelled.txt", paths, [3, 0, 1, 2])
    assert read_list(tmp_path / "plain.txt", tmp_path).paths == paths
    assert read_list(tmp_path / "labelled.txt", tmp_path).labels.tolist() == [3, 0, 1, 2]
    with pytest.raises(DataError, match="cannot hold this name"):
        list_text(["two\nlines.jpg"])


def test_many_lines_take_little_time_and_no_image_is_looked_at(tmp_path):
    (tmp_path / "long.txt").write_text("".join(f"train/n{i % 1000:08d}/{i}.JPEG {i % 1000}\n" for i in range(300_000)))
    start = time.process_time()
    files = read_list(tmp_path / "long.txt", tmp_path, 1000)
    assert len(files) == 300_000
    assert time.process_time() - start < 3


def test_a_byte_order_mark_does_no_harm_at_the_start_and_where_lists_were_joined(tmp_path):
    (tmp_path / "marked.txt").write_bytes("\ufeffa.jpg 1\r\nb.jpg 0\r\n\ufeffc.jpg\r\n".encode())
    files = read_list(tmp_path / "marked.txt", tmp_path, 2)
    assert (files.paths, files.labels.tolist()) == (["a.jpg", "b.jpg", "c.jpg"], [1, 0, -1])
    (tmp_path / "classes.txt").write_bytes("\ufeffcat\r\ndog\r\n\r\n".encode())
    assert class_names(tmp_path / "marked.txt", 2) == read_names(tmp_path / "classes.txt") == ["cat", "dog"]
    assert read_names(tmp_path / "none.txt") is None


@pytest.mark.parametrize("coding", ["utf-16-le", "utf-16-be"])
def test_a_list_in_utf_16_is_told(tmp_path, coding):
    (tmp_path / "wide.txt").write_bytes("\ufeffa.jpg 1\n".encode(coding))
    with pytest.raises(DataError, match=r"wide\.txt: is written in UTF-16; save it as UTF-8"):
        read_list(tmp_path / "wide.txt", tmp_path)


@pytest.mark.parametrize("label", ["+-5", "-7", "+1", "9" * 30, "-" + "9" * 5000])
def test_a_label_that_is_no_label_is_one_line(lines, tmp_path, label):
    with pytest.raises(DataError, match=r"list\.txt:1: ") as error:
        read_list(lines(f"a.jpg {label}\n"), tmp_path)
    assert len(str(error.value)) < 300


@pytest.mark.parametrize("label", [MOST_CLASSES, 10**12, 10**17])
def test_a_giant_label_is_refused_where_the_number_of_classes_is_not_known(lines, tmp_path, label):
    """Whoever counts the images of each class would fill the memory."""
    file = lines(f"b.jpg {MOST_CLASSES - 1}\na.jpg {label}\n")
    message = (
        rf"list\.txt:2: label {label} is out of range; no list has labels from 16,777,216 on, labels 0\.\.16777215"
    )
    with pytest.raises(DataError, match=message):
        read_list(file, tmp_path)


@pytest.mark.parametrize("read", [lambda file: read_list(file, file.parent), count_lines, read_names])
def test_a_pipe_or_a_device_is_no_list_and_nothing_waits_for_it(tmp_path, read):
    os.mkfifo(tmp_path / "pipe.txt")
    for file in (tmp_path / "pipe.txt", Path("/dev/zero")):
        with pytest.raises(DataError, match=rf"{file}: cannot be read \(no regular file\); give a readable"):
            read(file)


def test_images_by_other_suffixes_are_images_of_a_list(lines, tmp_path):
    files = read_list(lines("a.jfif\nb.JPE\nc.gif\nd.avif\n"), tmp_path)
    assert files.labels.tolist() == [-1] * 4
