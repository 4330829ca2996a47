"""`ssld data prepare cifar100`, on a small archive of the published form with digests of its own."""

import hashlib
import io
import pickle
import tarfile

import numpy as np
import pytest
from PIL import Image

from ssld.data import prepare, read_list
from ssld.data.cifar100 import DEV, FOLDER, prepare_pinned
from ssld.data.cifar100 import EACH as PUBLISHED_EACH
from ssld.errors import DataError
from ssld.planning.parts import KNOWN

CLASSES, EACH, OF_A_TEST = 3, DEV + 10, 4
NAMES = ["apple", "beetle", "crab"]


def quiet(done, total):
    pass


def part(seed, each):
    """The dictionary of a part: image i has label i % CLASSES."""
    count = CLASSES * each
    data = np.random.default_rng(seed).integers(0, 256, (count, 3072), dtype=np.uint8)
    labels = [i % CLASSES for i in range(count)]
    return {
        "filenames": ["x.png"] * count,
        "batch_label": "a part",
        "fine_labels": labels,
        "coarse_labels": labels,
        "data": data,
    }


def archive(file, contents):
    with tarfile.open(file, "w:gz") as packed:
        for name, content in contents.items():
            member = tarfile.TarInfo(f"{FOLDER}/{name}")
            member.size = len(content)
            packed.addfile(member, io.BytesIO(content))
    return file


@pytest.fixture(scope="module")
def contents():
    trees = {"train": part(0, EACH), "test": part(1, OF_A_TEST), "meta": {"fine_label_names": NAMES}}
    return {name: pickle.dumps(tree, protocol=2) for name, tree in trees.items()}


def pins(contents):
    return {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}


def made(out, source, contents, labelled=4):
    return prepare_pinned(out, quiet, source, labelled, pins(contents), EACH)


@pytest.fixture(scope="module")
def cifar(contents, tmp_path_factory):
    root = tmp_path_factory.mktemp("cifar")
    return root / "out", made(root / "out", archive(root / "published.tar.gz", contents), contents)


def test_images_and_labels_are_the_published_ones(cifar, contents):
    out, found = cifar
    sizes = {"train_labelled.txt": 12, "train_all.txt": 30, "val.txt": 150, "train_unlabelled.txt": 18, "test.txt": 12}
    assert found["lists"] == sizes
    assert (out / "classes.txt").read_text().split() == NAMES
    for name, tree in (("train", part(0, EACH)), ("test", part(1, OF_A_TEST))):
        with Image.open(out / name / "00007.png") as image:
            assert np.array_equal(np.asarray(image), tree["data"][7].reshape(3, 32, 32).transpose(1, 2, 0))
    lists = {name: read_list(out / f"{name}.txt", out) for name in ("train_labelled", "train_all", "val", "test")}
    for files in lists.values():
        assert [int(path[-9:-4]) % CLASSES for path in files.paths] == files.labels.tolist()
        assert len(set(np.bincount(files.labels))) == 1
    unlabelled = read_list(out / "train_unlabelled.txt", out)
    assert (unlabelled.labels == -1).all()
    assert sorted(lists["train_labelled"].paths + unlabelled.paths) == lists["train_all"].paths
    every = lists["train_all"].paths + lists["val"].paths
    assert sorted(every) == [f"train/{i:05d}.png" for i in range(CLASSES * EACH)]  # so the published protocol has all
    assert lists["test"].paths == [f"test/{i:05d}.png" for i in range(CLASSES * OF_A_TEST)]


def test_the_validation_images_are_the_same_for_any_number_of_labels(cifar, contents, tmp_path):
    out, _ = cifar
    other = tmp_path / "other"
    made(other, archive(tmp_path / "a.tar", contents), contents, labelled=7)
    for name in ("val", "test", "train_all"):
        assert (other / f"{name}.txt").read_bytes() == (out / f"{name}.txt").read_bytes()


@pytest.mark.parametrize("inner", [False, True], ids=["the folder", "the folder that holds it"])
def test_the_unpacked_folder_is_read_as_well(cifar, contents, tmp_path, inner):
    folder = tmp_path / FOLDER
    folder.mkdir()
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    made(tmp_path / "out", tmp_path if inner else folder, contents)
    assert (tmp_path / "out" / "val.txt").read_bytes() == (cifar[0] / "val.txt").read_bytes()


def test_a_plan_knows_the_sizes_of_the_lists_of_the_published_files():
    sizes = {name: KNOWN[f"cifar100/{name}.txt"] for name in ("train_all", "val", "test")}
    assert sizes == {"train_all": 100 * (PUBLISHED_EACH - DEV), "val": 100 * DEV, "test": 10_000}


def test_other_content_is_refused_before_it_is_unpickled(contents, tmp_path):
    source = archive(tmp_path / "a.tar.gz", contents)
    with pytest.raises(DataError, match=r"a\.tar\.gz: 'train' is not the published file \(sha256 differs\)"):
        prepare("cifar100", tmp_path / "out", source=source)
    assert not (tmp_path / "out").exists()


class Harmful:
    def __reduce__(self):
        return (open, ("/dev/null", "w"))


@pytest.mark.parametrize(
    ("name", "tree", "message"),
    [
        ("train", Harmful(), r"train: it wants to run \S*open"),
        ("meta", {"label_names": NAMES}, r"meta: no pickle of CIFAR-100 \('fine_label_names'\)"),
        (
            "test",
            {"data": np.zeros((2, 3072), np.uint8), "fine_labels": [0]},
            "test: its pixels are not those of 1 images",
        ),
        ("test", {"data": [], "fine_labels": []}, "test: its pixels are not those of 0 images"),
        ("test", {"data": np.zeros((1, 3072), np.uint8), "fine_labels": [3]}, "test: has labels that are not below 3"),
    ],
    ids=["code", "no names", "fewer labels", "no array", "label"],
)
def test_a_pickle_of_something_else_is_one_line_and_runs_nothing(contents, tmp_path, name, tree, message):
    changed = contents | {name: pickle.dumps(tree, protocol=2)}
    with pytest.raises(DataError, match=message):
        made(tmp_path / "out", archive(tmp_path / "a.tar.gz", changed), changed)


def test_a_source_that_is_missing_or_damaged_is_one_line(contents, tmp_path):
    with pytest.raises(DataError, match=r"no source given; fetch cifar-100-python\.tar\.gz and name it"):
        prepare("cifar100", tmp_path / "out")
    with pytest.raises(DataError, match="none: no such file or folder"):
        prepare("cifar100", tmp_path / "out", source=tmp_path / "none")
    whole = archive(tmp_path / "a.tar.gz", contents).read_bytes()
    (tmp_path / "cut.tar.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"cut\.tar\.gz: cannot be read as an archive"):
        prepare("cifar100", tmp_path / "out", source=tmp_path / "cut.tar.gz")
    with pytest.raises(DataError, match=r"b\.tar\.gz: has no file 'test'"):
        made(tmp_path / "out", archive(tmp_path / "b.tar.gz", {"train": contents["train"]}), contents)
    with pytest.raises(DataError, match=r"labelled 450 is out of range; give 1\.\.449 of each class"):
        prepare("cifar100", tmp_path / "out", source=tmp_path, labelled=450)
