"""`ssld data prepare` and the fake data of --smoke: real sources, real files."""

import csv
import gzip
import hashlib
import json
import os
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from ssld.data import digits as real_digits
from ssld.data import fake, fashion_pool, prepare, read_list
from ssld.data import fashion_mnist as fashion
from ssld.data.lists import compare_classes, list_text
from ssld.data.target import Target
from ssld.errors import DataError


def snapshot(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def pixels_of(path):
    with Image.open(path) as image:
        return np.asarray(image)


def tree(root, *names):
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (number % 256, 7, 7)).save(root / name)
    return root


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    out = tmp_path_factory.mktemp("data") / "digits"
    ticks = []
    return out, prepare("digits", out, lambda done, total: ticks.append((done, total))), ticks


def test_digits_are_the_real_ones_split_evenly_over_the_classes(digits):
    out, found, ticks = digits
    assert found["status"] == "prepared"
    assert ticks[-1] == (1797, 1797)
    lists = {name: read_list(out / f"{name}.txt", out, 10) for name in ("train_labelled", "train_unlabelled", "val")}
    assert {name: len(files) for name, files in lists.items()} == dict(
        train_labelled=180, train_unlabelled=1017, val=600
    )
    assert np.bincount(lists["train_labelled"].labels).tolist() == [18] * 10
    assert np.bincount(lists["val"].labels).tolist() == [60] * 10
    assert (lists["train_unlabelled"].labels == -1).all()
    everything = [path for files in lists.values() for path in files.paths]
    assert len(set(everything)) == 1797
    pixels, labels = load_digits(return_X_y=True)
    for path, label in zip(lists["val"].paths, lists["val"].labels, strict=True):
        number = int(path.split("/")[1][:4])
        image = pixels_of(out / path)
        assert image.shape == (8, 8)
        assert np.abs(image / 255 * 16 - pixels[number].reshape(8, 8)).max() < 0.05
        assert labels[number] == label


def test_the_lists_that_recorded_results_depend_on_have_not_changed(digits):
    wanted = {
        "train_labelled.txt": "46806fc7fffd90456c59612eb008c12a6bb47e0a089dbefcacea545418a78e71",
        "train_unlabelled.txt": "18335d08991348ceec052d5ff8f558ce0a83571b8e15c37f68e203ff5dae10c9",
        "train_all.txt": "a818341a8a1ae8027db8825d4638f42673e833bfaa3f9413100f893ff6c59f2e",
        "val.txt": "ee2b14641b5920db5abafe605878a73a6de6183ee03cbe6389f36d1102fa1338",
    }
    out, _, _ = digits
    assert {name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in wanted} == wanted


def test_choices_and_tests_have_the_two_halves_of_the_validation_images(digits):
    out, found, _ = digits
    val, dev, test = (read_list(out / f"{name}.txt", out, 10) for name in ("val", "dev", "test"))
    assert sorted(dev.paths + test.paths) == val.paths
    assert np.bincount(dev.labels).tolist() == np.bincount(test.labels).tolist() == [30] * 10
    labels = dict(zip(val.paths, val.labels, strict=True))
    assert all(
        labels[path] == label for files in (dev, test) for path, label in zip(files.paths, files.labels, strict=True)
    )
    assert (found["lists"]["dev.txt"], found["lists"]["test.txt"]) == (300, 300)


def older(folder, names):
    """Make a folder what an older version made, which had no lists of these names."""
    manifest = json.loads((folder / "dataset.json").read_text())
    for name in names:
        (folder / name).unlink()
        del manifest["lists"][name]
    (folder / "dataset.json").write_text(json.dumps(manifest, indent=2) + "\n")
    return folder


def test_a_folder_of_an_older_version_gets_the_new_lists_and_keeps_every_other_file(digits, tmp_path):
    out, first, _ = digits
    shutil.copytree(out, tmp_path / "d")
    grown = older(tmp_path / "d", ["dev.txt", "test.txt"])
    (grown / "images/0000.png").write_bytes(b"as another version of Pillow writes it")
    before = snapshot(grown)
    assert prepare("digits", grown) == {**first, "status": "prepared"}
    after = snapshot(grown)
    assert {name for name in after if before.get(name) != after[name]} == {"dev.txt", "test.txt", "dataset.json"}
    assert {name: after[name] for name in ("dev.txt", "test.txt", "dataset.json")} == {
        name: (out / name).read_bytes() for name in ("dev.txt", "test.txt", "dataset.json")
    }
    assert prepare("digits", grown)["status"] == "already prepared"
    changed = older(grown, ["dev.txt"])
    (changed / "dev.txt").write_text("mine\n")
    with pytest.raises(DataError, match=r"dev\.txt: exists with other content; choose another folder or delete it"):
        prepare("digits", changed)
    assert (changed / "dev.txt").read_text() == "mine\n"


def test_preparing_twice_changes_nothing_and_says_so(digits):
    out, first, _ = digits
    before = snapshot(out)
    again = prepare("digits", out)
    assert again == {**first, "status": "already prepared"}
    assert snapshot(out) == before
    manifest = json.loads((out / "dataset.json").read_text())
    assert manifest["kind"] == "digits"
    assert manifest["lists"]["val.txt"]["sha256"] == hashlib.sha256((out / "val.txt").read_bytes()).hexdigest()


def test_a_folder_that_holds_something_else_is_never_overwritten(digits, tmp_path):
    out, _, _ = digits
    with pytest.raises(DataError, match="holds digits with labelled 18, not digits with labelled 20"):
        prepare("digits", out, labelled=20)
    changed = tmp_path / "changed"
    shutil.copytree(out, changed)
    (changed / "val.txt").write_text("images/0000.png 1\n")
    with pytest.raises(DataError, match=r"val\.txt: missing or changed since it was prepared"):
        prepare("digits", changed)
    taken = tmp_path / "taken"
    (taken / "images").mkdir(parents=True)
    (taken / "images" / "0003.png").write_bytes(b"mine")
    with pytest.raises(DataError, match=r"0003\.png: exists with other content"):
        prepare("digits", taken)
    assert (taken / "images" / "0003.png").read_bytes() == b"mine"
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="is a file"):
        prepare("digits", tmp_path / "file")


def test_an_interrupted_preparation_goes_on_where_it_stopped(digits, tmp_path):
    class Stop(Exception):
        pass

    def interrupt(done, total):
        if done == 700:
            raise Stop

    with pytest.raises(Stop):
        prepare("digits", tmp_path / "d", interrupt)
    assert not (tmp_path / "d" / "dataset.json").exists()
    (tmp_path / "d" / "val.txt.partial-4194304").write_bytes(b"half")  # as a kill leaves it
    assert prepare("digits", tmp_path / "d")["status"] == "prepared"
    assert snapshot(tmp_path / "d") == snapshot(digits[0])
    assert not [name for name in snapshot(digits[0]) if not name.endswith((".png", ".txt", ".json"))]


@pytest.fixture
def tiny_fashion(tmp_path, monkeypatch):
    """Four IDX files of the published form, 100 times smaller, and their checksums in place of the pinned ones."""
    rng, folder, sums = np.random.default_rng(0), tmp_path / "idx", {}
    folder.mkdir()
    for part, count in (("train", 600), ("t10k", 100)):
        labels = np.arange(count) % 10
        contents = {
            f"{part}-images-idx3-ubyte": struct.pack(">IIII", 2051, count, 2, 2) + rng.bytes(4 * count),
            f"{part}-labels-idx1-ubyte": struct.pack(">II", 2049, count) + labels.astype(np.uint8).tobytes(),
        }
        for name, content in contents.items():
            (folder / f"{name}.gz").write_bytes(gzip.compress(content, 1))
            sums[name] = hashlib.sha256(content).hexdigest()
    monkeypatch.setattr(fashion, "SHA256", sums)
    monkeypatch.setattr(fashion, "EACH", 60)
    monkeypatch.setattr(fashion, "DEV", 20)
    return folder


def test_fashion_mnist_becomes_files_and_lists(tiny_fashion, tmp_path):
    out = tmp_path / "out"
    found = prepare("fashion_mnist", out, source=tiny_fashion, labelled=6)
    sizes = {"train_labelled.txt": 60, "train_all.txt": 600, "val.txt": 100, "train_unlabelled.txt": 540}
    sizes |= {"test.txt": 100, "dev.txt": 200, "train_all_without_dev.txt": 400}
    assert found["lists"] == sizes | {"train_unlabelled_without_dev.txt": 340}
    labelled = read_list(out / "train_labelled.txt", out, 10)
    assert np.bincount(labelled.labels).tolist() == [6] * 10
    for name in ("train_labelled", "train_all", "val"):  # image i has label i % 10
        files = read_list(out / f"{name}.txt", out, 10)
        assert [int(path[-9:-4]) % 10 for path in files.paths] == files.labels.tolist()
    assert (read_list(out / "train_unlabelled.txt", out).labels == -1).all()
    pixels = gzip.decompress((tiny_fashion / "t10k-images-idx3-ubyte.gz").read_bytes())[16:]
    assert pixels_of(out / "val/00003.png").tobytes() == pixels[12:16]
    assert prepare("fashion_mnist", out, labelled=6)["status"] == "already prepared"


def test_the_images_for_choices_are_training_images_and_the_test_images_are_the_published_ones(tiny_fashion, tmp_path):
    out, more = tmp_path / "out", tmp_path / "more"
    prepare("fashion_mnist", out, source=tiny_fashion, labelled=6)
    assert (out / "test.txt").read_bytes() == (out / "val.txt").read_bytes()
    names = ("dev", "train_labelled", "train_unlabelled_without_dev", "train_all_without_dev", "train_all")
    dev, labelled, unlabelled, kept, every = (read_list(out / f"{name}.txt", out) for name in names)
    assert np.bincount(dev.labels).tolist() == [20] * 10
    assert all(int(path[-9:-4]) % 10 == label for path, label in zip(dev.paths, dev.labels, strict=True))
    assert sorted(labelled.paths + unlabelled.paths) == kept.paths
    assert sorted(kept.paths + dev.paths) == every.paths
    assert (unlabelled.labels == -1).all()
    prepare("fashion_mnist", more, source=tiny_fashion, labelled=39)  # the same images for any number of labels
    assert (more / "dev.txt").read_bytes() == (out / "dev.txt").read_bytes()
    most = prepare("fashion_mnist", tmp_path / "most", source=tiny_fashion, labelled=40)
    assert most["remarks"] == ["no dev.txt: 40 labels of a class leave no 20 other images of it"]
    assert "dev.txt" not in most["lists"]
    assert prepare("fashion_mnist", tmp_path / "most", labelled=40)["status"] == "already prepared"


def test_a_fashion_mnist_of_an_older_version_grows_without_its_source(tiny_fashion, tmp_path):
    out = tmp_path / "out"
    prepare("fashion_mnist", out, source=tiny_fashion, labelled=6)
    whole = snapshot(out)
    older(out, ["dev.txt", "test.txt", "train_unlabelled_without_dev.txt", "train_all_without_dev.txt"])
    prepare("fashion_mnist", out, source=tmp_path / "gone", labelled=6)
    assert snapshot(out) == whole


def test_the_fashion_pool_holds_garments_and_digits_apart_from_the_labelled_ones(tiny_fashion, tmp_path, monkeypatch):
    for name, number in {"FEW": 3, "POOL": 5, "RANDOM": 50}.items():
        monkeypatch.setattr(fashion_pool, name, number)
    monkeypatch.setattr(fashion, "LABELLED", 6)
    held = real_digits.load()
    monkeypatch.setattr(real_digits, "load", lambda: (held[0][:60], held[1][:60]))
    out = tmp_path / "pool"
    found = prepare("fashion_pool", out, source=tiny_fashion)
    assert found["lists"] == {"few.txt": 30, "pool.txt": 50 + 60, "random.txt": 50}
    few, pool, drawn = (read_list(out / f"{name}.txt", out).paths for name in ("few", "pool", "random"))
    assert np.bincount(read_list(out / "few.txt", out, 10).labels).tolist() == [3] * 10
    prepare("fashion_mnist", tmp_path / "all", source=tiny_fashion, labelled=6)
    labelled = {path[-9:-4] for path in read_list(tmp_path / "all/train_labelled.txt", tmp_path / "all").paths}
    garments = {path[-9:-4] for path in pool if "garment" in path}
    assert {path[-9:-4] for path in few} < labelled
    assert len(garments) == 50
    assert not garments & labelled
    assert set(drawn) < set(pool)
    assert len({"digit" in path for path in drawn}) == 2
    assert prepare("fashion_pool", out)["status"] == "already prepared"


def test_fashion_mnist_of_another_content_or_missing_or_unreachable_is_refused(tiny_fashion, tmp_path, monkeypatch):
    (tiny_fashion / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(b"other"))
    with pytest.raises(DataError, match="content is not the published t10k-labels-idx1-ubyte"):
        prepare("fashion_mnist", tmp_path / "out", source=tiny_fashion)
    (tiny_fashion / "train-images-idx3-ubyte.gz").write_bytes(b"\x1f\x8b damaged")
    with pytest.raises(DataError, match="damaged gzip file"):
        prepare("fashion_mnist", tmp_path / "out", source=tiny_fashion)
    with pytest.raises(DataError, match=r"no train-images-idx3-ubyte\.gz"):
        prepare("fashion_mnist", tmp_path / "out", source=tmp_path)
    monkeypatch.setattr(fashion, "DEBIAN", str(tmp_path / "none"))
    monkeypatch.setattr(fashion, "URL", "file:///nowhere/")
    with pytest.raises(DataError, match=r"cannot be fetched \(.*dataset-fashion-mnist"):
        prepare("fashion_mnist", tmp_path / "out")


def test_a_folder_of_classes_becomes_lists_without_moving_an_image(tmp_path):
    names = [f"{c}/{i:02d}.{'jpg' if i % 2 else 'PNG'}" for c in ("zebra", "ant hill") for i in range(20)]
    source = tree(tmp_path / "pets", *names, "ant hill/deep/er.png")
    (source / "zebra" / "notes.txt").write_text("no image")
    found = prepare("folder", tmp_path / "out", source=source, val_share=0.2)
    assert (found["classes"], found["lists"]) == (2, {"train.txt": 33, "val.txt": 8})
    assert (tmp_path / "out" / "classes.txt").read_text() == "ant hill\nzebra\n"
    files = read_list([tmp_path / "out" / "train.txt", tmp_path / "out" / "val.txt"], tmp_path / "out", 2)
    assert sorted(files.paths) == sorted(str(source / name) for name in [*names, "ant hill/deep/er.png"])
    assert all(("zebra" in path) == label for path, label in zip(files.paths, files.labels, strict=True))
    assert prepare("folder", tmp_path / "out", source=source, val_share=0.2)["status"] == "already prepared"
    inside = prepare("folder", source, source=source, val_share=0)
    assert inside["lists"] == {"train.txt": 41}
    assert read_list(source / "train.txt", source, 2).paths[0] == "ant hill/00.PNG"
    tree(source, "zebra/new.png")
    with pytest.raises(DataError, match=r"train\.txt: exists with other content"):
        prepare("folder", source, source=source, val_share=0)


def test_an_unlabelled_tree_becomes_a_list_without_labels(tmp_path):
    source = tree(tmp_path / "pool", "a.png", "x/y/b c.jpg", "x/.hidden.png")
    assert prepare("unlabelled", tmp_path / "out", source=source)["lists"] == {"unlabelled.txt": 2}
    files = read_list(tmp_path / "out" / "unlabelled.txt", tmp_path / "out")
    assert files.paths == [str(source / "a.png"), str(source / "x/y/b c.jpg")]
    assert files.labels.tolist() == [-1, -1]


def imagenet(tmp_path, flat=False):
    source = tree(tmp_path / "ilsvrc", *(f"train/n0{c}/n0{c}_{i}.JPEG" for c in (3, 1, 2) for i in range(3)))
    val = [f"ILSVRC2012_val_0000000{i}.JPEG" for i in range(3)]
    tree(source, *(f"val/{name}" if flat else f"val/n0{i + 1}/{name}" for i, name in enumerate(val)))
    return source


def test_imagenet_labels_are_ranks_of_the_wordnet_ids_and_counts_are_checked(tmp_path):
    source = imagenet(tmp_path)
    with pytest.raises(DataError, match=r"train: 3 classes, ImageNet has 1,000; .*--allow-partial"):
        prepare("imagenet", tmp_path / "out", source=source)
    found = prepare("imagenet", source, source=source, allow_partial=True)
    assert found["lists"] == {"train_list.txt": 9, "val_list.txt": 3}
    assert (source / "train_list.txt").read_text().splitlines()[3] == "train/n02/n02_0.JPEG 1"
    assert (source / "val_list.txt").read_text().splitlines()[2] == "val/n03/ILSVRC2012_val_00000002.JPEG 2"
    assert (source / "classes.txt").read_text().split() == ["n01", "n02", "n03"]


def test_a_flat_imagenet_val_needs_a_ground_truth_of_names_and_classes(tmp_path):
    source, truth = imagenet(tmp_path, flat=True), tmp_path / "truth.txt"

    def run():
        return prepare("imagenet", tmp_path / "out", source=source, ground_truth=truth, allow_partial=True)

    with pytest.raises(DataError, match="one flat folder; give a ground truth"):
        prepare("imagenet", tmp_path / "out", source=source, allow_partial=True)
    for text, message in [
        ("3\n1\n2\n", r"truth\.txt:1: bad line '3'"),
        ("a.JPEG n09\n", r"truth\.txt:1: no class 'n09'"),
        ("ILSVRC2012_val_00000000 n02\n", r"00000001\.JPEG, .*00000002\.JPEG: not in the ground truth"),
    ]:
        truth.write_text(text)
        with pytest.raises(DataError, match=message):
            run()
    truth.write_text(
        "".join(f"ILSVRC2012_val_0000000{i}{e} {c}\n" for i, e, c in [(0, "", "n01"), (1, ".JPEG", "0"), (2, "", 2)])
    )
    run()
    assert [line.split()[1] for line in (tmp_path / "out" / "val_list.txt").read_text().splitlines()] == ["0", "0", "2"]


def test_sources_that_do_not_hold_are_named(tmp_path):
    with pytest.raises(DataError, match=r"no kind 'fashion-mnist'; did you mean 'fashion_mnist'\?"):
        prepare("fashion-mnist", tmp_path)
    with pytest.raises(DataError, match=r"no option 'soruce'; did you mean 'source'\?"):
        prepare("folder", tmp_path, soruce="x")
    with pytest.raises(DataError, match="no source given"):
        prepare("folder", tmp_path)
    with pytest.raises(DataError, match="gone: no such folder"):
        prepare("unlabelled", tmp_path, source=tmp_path / "gone")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no sub-folders"):
        prepare("folder", tmp_path / "o", source=tmp_path / "empty")
    with pytest.raises(DataError, match="no images found"):
        prepare("unlabelled", tmp_path / "o", source=tmp_path / "empty")
    with pytest.raises(DataError, match="no folder 'train'"):
        prepare("imagenet", tmp_path / "o", source=tmp_path / "empty")
    source = tree(tmp_path / "two", "a/1.png", "a/2.png", "b/1.png")
    (source / "c").mkdir()
    (source / "b" / "2.png").write_bytes(b"")  # an empty file is no image
    with pytest.raises(DataError, match=r"two: too few images for a class, which needs 2: b: 1, c: 0; add images or"):
        prepare("folder", tmp_path / "o", source=source)
    with pytest.raises(DataError, match="labelled 0 is out of range"):
        prepare("digits", tmp_path / "o", labelled=0)


def test_fake_data_is_deterministic_and_readable(tmp_path):
    lists = fake(tmp_path / "a", 5, train=10, val=5, unlabelled=7, size=24)
    fake(tmp_path / "b", 5, train=10, val=5, unlabelled=7, size=24)
    assert snapshot(tmp_path / "a") == snapshot(tmp_path / "b")
    fake(tmp_path / "c", 5, train=10, val=5, unlabelled=7, test=3, size=24)
    tested = snapshot(tmp_path / "c")
    assert {name: tested[name] for name in snapshot(tmp_path / "a")} == snapshot(tmp_path / "a")
    assert len(read_list(tmp_path / "c" / "test.txt", tmp_path / "c")) == 3
    files = {name: read_list(path, tmp_path / "a", 5) for name, path in lists.items()}
    assert {name: len(f) for name, f in files.items()} == {"train_labelled": 10, "train_unlabelled": 7, "val": 5}
    assert files["train_labelled"].labels.tolist() == [0, 1, 2, 3, 4] * 2
    images = [pixels_of(files["train_labelled"].path(i)) for i in range(10)]
    assert len({image.shape for image in images}) > 1
    colour = np.array([image.mean((0, 1)) for image in images])  # labels 0..4, then 0..4 again
    assert np.abs(colour[:5] - colour[5:]).max() < 25 < np.abs(colour[0] - colour[1]).max()


def test_two_processes_may_prepare_the_same_set_at_once(tmp_path, monkeypatch):
    """As two runs side by side do: while one has a file half written, the other writes it too."""
    mine, other = (Target("fake", tmp_path / "set", {}) for _ in range(2))
    replace, pid = Path.replace, os.getpid()

    def late(part, path):
        monkeypatch.setattr(Path, "replace", replace)
        monkeypatch.setattr(os, "getpid", lambda: pid + 1)
        other.save("a.txt", b"the same")
        return replace(part, path)

    monkeypatch.setattr(Path, "replace", late)
    mine.save("a.txt", b"the same")
    assert snapshot(tmp_path / "set") == {"a.txt": b"the same"}


def folder_of_surprises(root):
    """A folder of classes with everything that is not meant in it."""
    tree(
        root,
        *(f"{name}/{i}.png" for name in ("cat", "Cat", "dog") for i in range(4)),
        "cat/5.jpg",
        "bird/1.png",
        "bird/2.png",
    )
    (root / "cat/5.jpg").rename(root / "cat/5.JFIF")
    (root / "cat/6.jpe").write_bytes((root / "cat/5.JFIF").read_bytes())
    tree(
        root,
        "cat/.ipynb_checkpoints/0.png",
        "cat/@eaDir/0.png",
        ".git/0.png",
        "@eaDir/0.png",
        "beside.png",
        "cat/.x.png",
    )
    for name in ("dog/a.gif", "dog/b.GIF", "dog/c.avif", "dog/notes.txt", "dog/README"):
        (root / name).write_bytes(b"x")
    (root / "dog/empty.png").touch()
    (root / "dog/gone.png").symlink_to("nowhere.png")
    (root / "dog/more").symlink_to(root / "cat")
    (root / "loop").symlink_to(root)
    (root / "linked").symlink_to(tree(root.parent / "elsewhere", "1.png", "2.png", "3.png"))
    os.mkfifo(root / "dog/pipe.png")
    return root


def test_what_is_left_out_of_a_folder_is_counted_and_named(tmp_path):
    root = folder_of_surprises(tmp_path / "pets")
    found = prepare("folder", tmp_path / "out", source=root, val_share=0)
    assert found["lists"] == {"train.txt": 4 + 2 + 4 + 4 + 2 + 3}  # the links and the JPEG files by other names are in
    assert (tmp_path / "out/classes.txt").read_text().split() == ["Cat", "bird", "cat", "dog", "linked"]
    assert found["left_out"] == {
        "a hidden folder": 4,
        "a hidden file": 1,
        "outside the folders of the classes": 1,
        "a link to a folder": 1,
        "a link to the folder that it lies in": 1,
        "a dangling link": 1,
        "an empty file": 1,
        "no regular file": 1,
        "no image that is read (.gif)": 2,
        "no image that is read (.avif)": 1,
        "no image that is read (.txt)": 1,
        "no image that is read (no suffix)": 1,
    }
    with open(tmp_path / "out/left_out.csv", newline="") as file:
        named = dict(row for row in csv.reader(file))
    assert len(named) == 1 + sum(found["left_out"].values())
    assert named["dog/gone.png"] == "a dangling link"
    assert named["cat/@eaDir"] == "a hidden folder"
    assert "left out, no image that is read (.gif): 2 (dog/a.gif, dog/b.GIF)" in found["remarks"]
    (root / "dog/another.txt").write_text("x")  # a report, no data: it may change where a list may not
    assert (
        prepare("folder", tmp_path / "out", source=root, val_share=0)["left_out"]["no image that is read (.txt)"] == 2
    )


def test_names_that_a_list_cannot_hold_are_told_all_at_once(tmp_path):
    root = tree(tmp_path / "pets", "cat/1.png", "cat/2.png", "dog/1.png", "dog/2.png", "dog/a\nb.png", "cat/c\rd.png")
    tree(root, "cat/in\nner/1.png")
    found = prepare("folder", tmp_path / "out", source=root, val_share=0)
    assert found["left_out"] == {"a name with a line break": 3}
    assert read_list(tmp_path / "out/train.txt", tmp_path / "out").labels.tolist() == [0, 0, 1, 1]
    tree(root, "o\nwl/1.png", "pi\rg/1.png")
    with pytest.raises(DataError, match=r"names have a line break: 'o\\nwl', 'pi\\rg'; rename them"):
        prepare("folder", tmp_path / "other", source=root, val_share=0)
    with pytest.raises(
        DataError, match=r"^' a\.png', 'b\.png ': a list file cannot hold these 2 names; rename the images"
    ):
        list_text([" a.png", "c.png", "b.png "])


def test_an_unlabelled_tree_names_what_it_leaves_out(tmp_path):
    root = folder_of_surprises(tmp_path / "pets")
    found = prepare("unlabelled", tmp_path / "out", source=root)
    assert found["lists"] == {"unlabelled.txt": 17}  # links to folders are not followed here
    assert found["left_out"]["a link to a folder"] == 3
    assert found["left_out"]["a hidden folder"] == 4


def test_what_is_probably_not_meant_is_told(tmp_path):
    root = folder_of_surprises(tmp_path / "pets")
    shutil.copy(root / "dog/0.png", root / "dog/9.png")
    (root / "dog/A.PNG").write_bytes((root / "dog/1.png").read_bytes())
    (root / "dog/a.png").write_bytes((root / "dog/2.png").read_bytes())
    one = tree(tmp_path / "one", "a/1.png", "b/1.png", "b/2.png")
    assert "classes of one image: a" in prepare("folder", tmp_path / "few", source=one, val_share=0)["remarks"]
    remarks = prepare("folder", tmp_path / "out", source=root, val_share=0.5, seed=1)["remarks"]
    assert "classes whose names differ by case alone: Cat = cat; are they one class?" in remarks
    assert any(line.startswith("images whose names differ by case alone: ") for line in remarks)
    files = {name: read_list(tmp_path / "out" / f"{name}.txt", tmp_path / "out").paths for name in ("train", "val")}
    contents = {Path(path).read_bytes() for path in files["train"]}
    equal = sum(Path(path).read_bytes() in contents for path in files["val"])
    assert equal > 0
    (line,) = (line for line in remarks if line.startswith("val.txt: "))
    assert line.startswith(f"val.txt: {equal} of {len(files['val'])} images have the bytes of a training image: ")


def test_a_set_that_is_prepared_apart_takes_the_classes_of_another(tmp_path):
    train = tree(tmp_path / "train", *(f"{name}/{i}.png" for name in "abc" for i in range(3)))
    val = tree(tmp_path / "val", *(f"{name}/{i}.png" for name in "ac" for i in range(2)))
    prepare("folder", train, source=train, val_share=0)
    prepare("folder", tmp_path / "apart", source=val, val_share=0)
    with pytest.raises(DataError, match=r"apart/classes\.txt: label 1 is 'c', beside .* it is 'b'; .*--class-list"):
        compare_classes(tmp_path / "apart/train.txt", train / "train.txt")
    prepare("folder", tmp_path / "val_list", source=val, val_share=0, class_list=train / "classes.txt")
    compare_classes(tmp_path / "val_list/train.txt", train / "train.txt")
    files = read_list(tmp_path / "val_list/train.txt", tmp_path / "val_list", 3)
    assert files.labels.tolist() == [0, 0, 2, 2]
    tree(val, "d/0.png")
    with pytest.raises(DataError, match=r"val/d: no class of .*classes\.txt has this name; rename or remove"):
        prepare("folder", tmp_path / "other", source=val, val_share=0, class_list=train / "classes.txt")
    (tmp_path / "val_list/classes.txt").write_text("a\nb\n")
    with pytest.raises(DataError, match=r"there are 2 classes, and 3 beside"):
        compare_classes(tmp_path / "val_list/train.txt", train / "train.txt")
    (tmp_path / "val_list/classes.txt").unlink()
    compare_classes(tmp_path / "val_list/train.txt", train / "train.txt")  # nothing to compare


def test_what_a_published_set_must_have_is_no_matter_of_leaving_out(tmp_path):
    source = imagenet(tmp_path)
    (source / "train/n01/n01_9.JPEG").symlink_to("gone")
    (source / "train/n02/n02_9.JPEG").write_bytes(b"")
    said = r"n01_9\.JPEG \(a dangling link\), .*n02_9\.JPEG \(an empty file\); delete what is named, or fetch it again"
    with pytest.raises(DataError, match=said):  # all of them at once, of every class
        prepare("imagenet", source, source=source, allow_partial=True)
