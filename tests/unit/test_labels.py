"""These tests ask what a record keeps, what damage costs, and whether a view comes back bit for bit."""

import errno
import json
import os
import re
import shutil
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import paddle
import pytest
from PIL import Image

from ssld import labels, models
from ssld.config import recipe
from ssld.config.keys import digested
from ssld.data import Augment, Loader, Views, fake
from ssld.data.lists import FileList
from ssld.distill.images import images_of, train_loader
from ssld.distill.labelling import filled_cache, labeller_of, manifest, open_cache
from ssld.distill.networks import save_result
from ssld.distill.runs import Run
from ssld.distill.teachers import load_teacher
from ssld.errors import DataError, RecipeError
from ssld.files import read_json
from ssld.interfaces import Outputs
from ssld.labels import Cache, CachedLogits, Layout, shard
from ssld.labels.cache import missing
from ssld.losses.objective import Objective
from ssld.runtime import Runtime
from tests.campaign.damage import WAYS, damage
from tests.unit.some_recipe import written

HERE = Runtime(rank=0, world=1, gpu=None)


def softmax(logits, temperature=1.0):
    scaled = np.exp((logits - logits.max(1, keepdims=True)).astype(np.float64) / temperature)
    return scaled / scaled.sum(1, keepdims=True)


def drawn(n, classes, spread=4.0):
    return (spread * np.random.default_rng(classes).standard_normal((n, classes))).astype("float32")


# --- records


@pytest.mark.parametrize(
    ("classes", "k", "size"), [(1000, 10, 35), (1000, 1000, 2002), (10, 3, 10), (2, 1, 5), (21841, 10, 41)]
)
def test_a_record_has_so_many_bytes(classes, k, size):
    """It has k + 1 float16 and k class numbers; of 1,000 classes, ten logits stay below 50 bytes."""
    layout = Layout(classes, k)
    assert layout.size == size
    assert layout.encode(drawn(3, classes)).shape == (3, size)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize(("classes", "k"), [(1000, 10), (1000, 1000), (10, 3), (10, 10), (7, 6), (2, 1)])
def test_kept_logits_keep_their_probability_at_any_temperature(classes, k, temperature):
    logits, layout = drawn(50, classes), Layout(classes, k)
    kept = np.argsort(-logits, axis=1)[:, :k]
    decoded = layout.decode(layout.encode(logits))
    assert decoded.shape == logits.shape
    assert decoded.dtype == np.float32
    expected, actual = (softmax(z, 1.0)[np.arange(50)[:, None], kept] for z in (logits, decoded))
    np.testing.assert_allclose(actual, expected, rtol=0.01, atol=2e-4)
    ratios = [np.take_along_axis(z, kept, 1) for z in (decoded, logits)]
    relative = [(z - z[:, :1]) / temperature for z in ratios]  # a softmax at any temperature depends on these alone
    np.testing.assert_allclose(*relative, rtol=6e-4, atol=1e-6)
    assert np.abs(decoded.max(1) - logits.max(1)).max() <= 2**-11 * np.abs(logits).max()


def test_the_classes_that_are_not_kept_share_what_is_left():
    logits, layout = drawn(20, 100), Layout(100, 5)
    decoded = softmax(layout.decode(layout.encode(logits)))
    others = np.argsort(-logits, axis=1)[:, 5:]
    left = np.take_along_axis(softmax(logits), others, 1).sum(1, keepdims=True)
    np.testing.assert_allclose(np.take_along_axis(decoded, others, 1), np.repeat(left / 95, 95, axis=1), rtol=5e-3)


def test_equal_and_far_logits_are_kept_and_infinite_ones_are_refused():
    logits = np.array([[-50.0, 5.0, 5.0, 5.0], [0.0, -1e6, 2e5, -1e6]], "float32")
    decoded = Layout(4, 2).decode(Layout(4, 2).encode(logits))
    # Classes 1 and 2 come first.
    np.testing.assert_allclose(softmax(decoded)[0], [1 / 6, 1 / 3, 1 / 3, 1 / 6], atol=1e-3)
    assert softmax(decoded)[1].tolist() == pytest.approx([0, 0, 1, 0], abs=1e-30)
    with pytest.raises(DataError, match=r"^the teacher's logits are not finite; check its weights"):
        Layout(4, 2).encode(np.array([[np.nan, 0, 0, 0]], "float32"))


# --- files


def test_a_damaged_block_is_known_by_its_number_and_costs_no_other(tmp_path):
    records = np.random.default_rng(0).integers(0, 256, (2500, 7), dtype=np.uint8)
    shard.write(tmp_path / "s", records, "one")
    assert (shard.read_whole(tmp_path / "s", 7, 2500, "one") == records).all()
    data = bytearray((tmp_path / "s").read_bytes())
    data[-1] ^= 1
    (tmp_path / "s").write_bytes(data)
    content, damaged = shard.read(tmp_path / "s", 7, 2500, "one")
    assert damaged == [2]
    assert (content[:2048] == records[:2048]).all()
    with pytest.raises(DataError, match=r"/s: block 2 \(records 2048 to 2499\) is damaged or missing; `ssld label`"):
        shard.read_whole(tmp_path / "s", 7, 2500, "one")


@pytest.mark.parametrize("spoil", [lambda data: data[:-1], lambda data: b"X" + data[1:], lambda data: b""])
def test_a_short_file_and_one_that_is_no_shard_are_damage_throughout(tmp_path, spoil):
    shard.write(tmp_path / "s", np.ones((1500, 7), np.uint8), "one")
    (tmp_path / "s").write_bytes(spoil((tmp_path / "s").read_bytes()))
    assert shard.read(tmp_path / "s", 7, 1500, "one")[1] == [0, 1]
    assert shard.read(tmp_path / "none", 7, 1500, "one")[1] == [0, 1]


def test_a_pipe_in_the_place_of_a_shard_is_damage_throughout_and_nobody_waits_for_it(tmp_path):
    os.mkfifo(tmp_path / "s")
    assert shard.read(tmp_path / "s", 7, 1500, "one")[1] == [0, 1]
    assert shard.says_its_name(tmp_path / "s")


def test_a_shard_of_another_name_is_damage_throughout_and_one_of_an_earlier_version_has_no_name(tmp_path):
    records = np.arange(14, dtype=np.uint8).reshape(2, 7)
    shard.write(tmp_path / "s", records, "cache view 0 shard 1")
    assert shard.read(tmp_path / "s", 7, 2, "cache view 1 shard 0")[1] == [0]
    assert shard.says_its_name(tmp_path / "s")
    old = struct.pack("<8sII", b"ssldlab1", 7, 2) + struct.pack("<I", zlib.crc32(records.tobytes())) + records.tobytes()
    (tmp_path / "old").write_bytes(old)
    content, damaged = shard.read(tmp_path / "old", 7, 2, "cache view 1 shard 0")
    assert damaged == []
    assert (content == records).all()
    assert not shard.says_its_name(tmp_path / "old")


# --- filling


class Teacher:
    """It answers for place p of view v logits that hold p and v, and remembers what it was asked."""

    def __init__(self, cache, breaks_after=10**9):
        self.cache, self.left, self.asked = cache, breaks_after, []

    def __call__(self, view, numbers):
        for number in numbers:
            if not self.left:
                raise OSError("the machine stops here")
            self.left -= 1
            self.asked.append((view, number))
            places = range(number * self.cache.micro, min(self.cache.places, (number + 1) * self.cache.micro))
            yield np.array([[0.0, -place, -view] for place in places], "float32")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Return a cache of three views of 21 places: shards of 8 records in blocks of 4, micro-batches of 3."""
    monkeypatch.setattr(shard, "BLOCK", 4)
    monkeypatch.setattr(shard, "RECORDS", 8)
    return Cache(tmp_path, Layout(3, 3), views=3, places=21, micro=3)


def content(cache):
    cache.view_cache.clear()
    return [cache.logits(view, np.arange(cache.places))[:, 1:].tolist() for view in range(cache.views)]


WHOLE = [[[-place, -view] for place in range(21)] for view in range(3)]


def test_every_place_of_every_view_is_asked_for_and_found_again(cache, capsys):
    labels.fill(cache, lambda: Teacher(cache), HERE)
    assert content(cache) == WHOLE
    assert "labels: 63 img" in capsys.readouterr().err


def test_what_a_killed_writer_had_finished_is_not_made_again(cache):
    with pytest.raises(OSError, match="stops here"):
        labels.fill(cache, lambda: Teacher(cache, breaks_after=8), HERE)  # this is in the third shard
    again = Teacher(cache)
    labels.fill(cache, lambda: again, HERE)
    assert content(cache) == WHOLE
    assert again.asked[0] == (0, 5)  # these are places 15 and later: the first two shards are there
    labels.fill(cache, lambda: pytest.fail("nothing is missing"), HERE)


def test_a_damaged_block_is_named_and_made_anew_alone(cache, capsys):
    labels.fill(cache, lambda: Teacher(cache), HERE)
    file = cache.file(1, 1)
    data = bytearray(file.read_bytes())
    data[-1] ^= 255  # this is in the second block: places 12 to 15 of view 1
    file.write_bytes(data)
    with pytest.raises(DataError, match=r"shard-00001.labels: block 1 \(records 4 to 7\) is damaged"):
        content(cache)
    mend = Teacher(cache)
    labels.fill(cache, lambda: mend, HERE)
    assert f"{file}: 1 of 2 blocks are damaged; they are made anew" in capsys.readouterr().err
    assert mend.asked == [(1, 4), (1, 5)]
    assert content(cache) == WHOLE


def test_two_ranks_share_the_shards(cache):
    ranks = [[shards[:2] for shards in missing(cache, rank, 2)] for rank in (0, 1)]
    assert sorted(ranks[0] + ranks[1]) == cache.shards()
    assert not set(ranks[0]) & set(ranks[1])


def test_verify_asks_the_teacher_again_and_names_a_label_that_is_another_one(cache):
    labels.fill(cache, lambda: Teacher(cache), HERE)
    assert labels.verify(cache, Teacher(cache), 63) == 0

    def other(view, numbers):
        for logits in Teacher(cache)(view, numbers):
            yield logits + np.array([0, 0, 0.01 * view], "float32")

    with pytest.raises(DataError, match=r"view 1, place \d+: the teacher says something else now \(softmax differs by"):
        labels.verify(cache, other, 63)


NOBODY = 4194304  # no process has this number
ABOUT = {"teacher": {"weights": "a" * 64, "norm": "running"}, "labels": {"k": 10}}


def test_a_folder_of_other_labels_is_refused_by_what_differs(tmp_path):
    about = ABOUT
    labels.claim(tmp_path / "c", about, HERE)
    labels.claim(tmp_path / "c", about, HERE)
    a_label(tmp_path / "c")
    for key, other in (("norm", "batch"), ("weights", "b" * 64)):
        changed = about | {"teacher": about["teacher"] | {key: other}}
        with pytest.raises(DataError, match=rf"/c: its labels were made with teacher\.{key} .*, this run has"):
            labels.claim(tmp_path / "c", changed, HERE)
    with pytest.raises(DataError, match=r"made with labels\.k 10, this run has 5; choose another labels.folder"):
        labels.claim(tmp_path / "c", about | {"labels": {"k": 5}}, HERE)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "manifest.json.partial").write_text('{"tea')
    (tmp_path / "mine" / "thesis.txt").write_text("not a cache")
    with pytest.raises(DataError, match=r"/mine: is not empty and holds no label cache"):
        labels.claim(tmp_path / "mine", about, HERE)


def a_label(folder):
    (folder / "view-000").mkdir()
    (folder / "view-000" / "shard-00000.labels").write_bytes(b"")


@pytest.mark.parametrize("left", ["manifest.json.partial-4194304", "manifest.json"])
def test_a_kill_while_a_cache_is_claimed_leaves_nothing_that_refuses_a_run(left, tmp_path):
    (tmp_path / left).write_text('{"teach')
    labels.claim(tmp_path, {"k": 10}, HERE)
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]
    assert read_json(tmp_path / "manifest.json", "") == {"k": 10}


def test_a_cache_without_a_label_is_claimed_by_another_run_and_the_first_one_does_not_write_into_it(cache, tmp_path):
    labels.claim(tmp_path, {"k": 10}, HERE)
    first = replace(cache, manifest={"k": 10})
    labels.claim(tmp_path, {"k": 5}, HERE)  # the mended recipe
    with pytest.raises(DataError, match=r"its labels were made with k 5, this run has 10; choose another labels.fold"):
        labels.fill(first, lambda: Teacher(first), HERE)
    assert [file.name for file in tmp_path.iterdir()] == ["manifest.json"]
    second = replace(first, manifest={"k": 5})
    (tmp_path / "view-000").mkdir()
    (tmp_path / "view-000" / "shard-00000.labels.partial-4194304").write_bytes(b"half")
    labels.claim(tmp_path, {"k": 5}, HERE)
    labels.fill(second, lambda: Teacher(second), HERE)
    assert content(second) == WHOLE
    assert not [*tmp_path.glob("*/*.partial*")]


class Killed(BaseException):
    """Ends the process as SIGKILL does."""


@pytest.mark.parametrize("fault", [Killed(), OSError(errno.ENOSPC, "No space left on device")], ids=["kill", "full"])
def test_a_cache_whose_manifest_was_never_finished_is_begun_again(fault, tmp_path, monkeypatch):
    """The process dies, or the disk is full, at the rename of the manifest, as it was seen once."""

    def fails(self, target):
        shutil.copyfile(self, tmp_path / "left")
        raise fault

    monkeypatch.setattr(Path, "replace", fails)
    with pytest.raises(type(fault)):
        labels.claim(tmp_path / "c", ABOUT, HERE)
    monkeypatch.undo()
    shutil.move(
        tmp_path / "left", tmp_path / "c" / f"manifest.json.partial-{NOBODY}"
    )  # a killed process cannot remove it
    labels.claim(tmp_path / "c", ABOUT, HERE)
    assert json.loads((tmp_path / "c" / "manifest.json").read_text())["labels"] == {"k": 10}


IN_PLACE = ("replaced by a folder", "replaced by a pipe")


@pytest.mark.parametrize("way", [way for way in WAYS if way not in IN_PLACE])
def test_a_damaged_manifest_is_named_and_written_anew_and_foreign_labels_are_not_used(way, cache, capsys):
    """Every shard says which cache it is of, so that nothing is lost with the manifest but its text."""
    labels.claim(cache.folder, ABOUT, HERE)
    labels.fill(cache, lambda: Teacher(cache), HERE)
    other = replace(cache, folder=cache.folder / "view-other", manifest={"k": 5})
    labels.claim(other.folder, {"k": 5}, HERE)
    labels.fill(other, lambda: Teacher(other), HERE)
    shutil.move(other.file(2, 1), cache.file(2, 1))
    shutil.rmtree(other.folder)
    manifest = cache.folder / "manifest.json"
    text = manifest.read_text()
    if not damage(manifest, way):
        return
    capsys.readouterr()
    labels.claim(cache.folder, ABOUT, HERE)
    assert manifest.read_text() == text
    said = capsys.readouterr().err
    anew = "it is written anew, and the labels that do not belong to it are made anew"
    assert re.match(rf"{manifest}: .*; {anew}\n$", said)
    mend = Teacher(cache)
    labels.fill(cache, lambda: mend, HERE)
    assert {view for view, _ in mend.asked} == {2}
    assert content(cache) == WHOLE


def test_a_manifest_beside_labels_of_an_earlier_version_is_not_guessed(cache):
    labels.claim(cache.folder, ABOUT, HERE)
    labels.fill(cache, lambda: Teacher(cache), HERE)
    file = cache.file(0, 0)
    file.write_bytes(b"ssldlab1" + file.read_bytes()[8:])
    (cache.folder / "manifest.json").write_text("")
    with pytest.raises(DataError, match=r"manifest\.json: damaged \(empty\); remove the folder, its labels are made"):
        labels.claim(cache.folder, ABOUT, HERE)
    shutil.rmtree(cache.folder)
    labels.claim(cache.folder, ABOUT, HERE)


@pytest.mark.parametrize("way", IN_PLACE)
@pytest.mark.parametrize("name", ["manifest.json", "view-001/shard-00001.labels"])
def test_a_folder_or_a_pipe_in_the_place_of_a_file_of_the_cache_is_named_and_the_advice_works(name, way, cache):
    labels.claim(cache.folder, ABOUT, HERE)
    labels.fill(cache, lambda: Teacher(cache), HERE)
    file = cache.folder / name
    damage(file, way)
    with pytest.raises(DataError, match=rf"{name}: .*; remove (the folder|it), ") as caught:
        claim_and_fill(cache)
    place = cache.folder if "the folder" in str(caught.value) else file
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    claim_and_fill(cache)
    assert content(cache) == WHOLE


def claim_and_fill(cache):
    labels.claim(cache.folder, ABOUT, HERE)
    labels.fill(cache, lambda: Teacher(cache), HERE)


# --- replay


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Return 25 images of as many sizes."""
    root, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for i in range(25):
        Image.fromarray(rng.integers(0, 256, (20 + i, 44 - i, 3), dtype=np.uint8)).save(root / f"{i}.png")
    return FileList([f"{i}.png" for i in range(25)], np.full(25, -1), str(root))


def loader(files, augment, seed=0, **changes):
    options = {"size": 12, "batch": 8, "mean": (0.5,) * 3, "std": (0.2,) * 3, **changes}
    return Loader(files, augment=augment, seed=seed, views=Views(7, 40), **options)


def test_a_thousand_views_come_back_bit_for_bit_whoever_asks(files):
    """There are 25 images in 40 views of crop, flip, colours and erasing.

    Two students with other batches and orders read them.
    """
    augment = Augment(auto="randaugment", erase=0.5)
    writer = loader(files, augment)
    kept = {}
    for view in range(40):
        for batch in writer.of_view(view, range(4)):
            shown = zip(batch["index"].tolist(), batch["image"].numpy(), strict=True)
            kept |= {(view, index): image.tobytes() for index, image in shown}
    assert len(kept) == 1000
    assert len(set(kept.values())) > 990  # almost all views differ
    seen = set()
    for student in (loader(files, augment, seed=1), loader(files, augment, seed=2, batch=5, threads=2)):
        for batch in student.batches(0, 40 * student.steps_per_epoch):
            for place, image in zip(batch["place"], batch["image"].numpy(), strict=True):
                assert image.tobytes() == kept[batch["view"], place]
                seen.add((batch["view"], int(place)))
    assert len(seen) == 1000


def test_a_mixed_view_comes_back_with_its_partners_for_any_number_of_ranks(files):
    augment = Augment(mixup=0.4, cutmix=1.0)
    writer = loader(files, augment, accumulate=2)  # two ranks have micro-batches of 4
    kept = [[batch["image"].numpy() for batch in writer.of_view(view, range(6))] for view in range(3)]
    for rank in (0, 1):
        student = loader(files, augment, seed=5, rank=rank, world=2)
        for batch in student.batches(0, 3 * student.steps_per_epoch):
            number, first = divmod(int(batch["place"][0]), 4)
            assert first == 0
            assert batch["image"].numpy().tobytes() == kept[batch["view"]][number].tobytes()


def test_epochs_walk_through_the_views_and_begin_again_in_another_order(files):
    student = Loader(
        files, size=12, batch=8, augment=Augment(), seed=1, mean=(0.5,) * 3, std=(0.2,) * 3, views=Views(7, 3)
    )
    batches = list(student.batches(0, 7 * 3))
    assert [batch["view"] for batch in batches[::3]] == [0, 1, 2, 0, 1, 2, 0]
    first, fourth = ([batch["index"].numpy().tolist() for batch in batches[at : at + 3]] for at in (0, 9))
    assert first != fourth


# --- the whole


TREE = {
    "classes": 4,
    "student": {"arch": "MobileNetV3_small_x0_35"},
    "teacher": {"arch": "MobileNetV3_small_x1_0", "stage": "teach", "norm": "running"},
    "stages": {
        "teach": {
            "network": "teacher",
            "epochs": 1,
            "data": {"train": ["train_labelled.txt"], "val": "val.txt", "size": 32, "batch": 4, "threads": 1},
            "loss": {"ce": {}},
            "optim": {"lr": 0.1},
        },
        "distill": {
            "epochs": 2,
            "data": {"train": ["train_unlabelled.txt"], "val": "val.txt", "size": 24, "batch": 4, "threads": 1},
            "loss": {"ssld": {}},
            "optim": {"lr": 0.1},
            "labels": {"views": 2, "k": None},
        },
    },
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Yield a function from overrides to a plan, a run folder with a trained teacher, and the folder of the lists."""
    folder = tmp_path_factory.mktemp("run")
    fake(folder, 4, train=8, val=4, unlabelled=10, size=30)
    file = written(folder, TREE)
    plan = recipe.load(file)
    net = models.create("MobileNetV3_small_x1_0", num_classes=4, in_size=32)
    for _ in range(3):
        net(paddle.randn([8, 3, 32, 32]))
    save_result(Run(plan, folder / "out", folder, HERE).stage("teach"), net, {})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSLD_LABELS", str(folder / "labels"))
        yield lambda *overrides: recipe.load(file, overrides), folder / "out", folder


def test_labels_from_a_cache_are_those_of_the_teacher_on_the_same_images(trained, tmp_path, monkeypatch):
    monkeypatch.setenv("SSLD_LABELS", str(tmp_path))
    load, out, root = trained
    plan, objective = load(), Objective(load().stages["distill"].loss)
    run = Run(plan, out, root, HERE)
    teacher = load_teacher(run, "teacher")
    cached = labeller_of(run.stage("distill"), teacher)
    assert isinstance(cached, CachedLogits)
    online = labeller_of(Run(replace_labels(plan, None), out, root, HERE).stage("distill"), teacher)
    student = models.create("MobileNetV3_small_x0_35", num_classes=4, in_size=24)
    student.eval()
    files = FileList((root / "train_unlabelled.txt").read_text().split(), np.full(10, -1), str(root))
    pairs = zip(
        *(way.labelled(train_loader(run.stage("distill"), files, HERE, 1).batches(0, 6)) for way in (cached, online)),
        strict=True,
    )
    count = 0
    for kept, fresh in pairs:
        assert kept["image"].numpy().tobytes() == fresh["image"].numpy().tobytes()
        losses = [float(objective(Outputs({"logits": student(b["image"])}), b["teacher"], b)[0]) for b in (kept, fresh)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-3)
        count += 1
    assert count == 6


def replace_labels(plan, block):
    return replace(plan, stages={name: replace(stage, labels=block) for name, stage in plan.stages.items()})


def test_another_teacher_another_augmentation_and_another_seed_of_views_have_caches_of_their_own(
    trained, tmp_path, monkeypatch
):
    monkeypatch.setenv("SSLD_LABELS", str(tmp_path))
    load, out, root = trained

    def stage(*overrides):
        return Run(load(*overrides), out, root, HERE).stage("distill")

    def folder(stage, teacher):
        return filled_cache(stage, teacher)[0].folder

    folders = set()
    for change in ("seed=0", "stages.distill.labels.seed=1", "stages.distill.data.augment.flip=0"):
        teacher = load_teacher(stage().run, "teacher")
        folders.add(folder(stage(change), teacher))
    teacher.network.head.fc.bias.set_value(teacher.network.head.fc.bias + 1)
    folders.add(folder(stage(), teacher))
    assert len(folders) == 4
    again = folder(stage(), load_teacher(stage().run, "teacher"))
    assert again in folders
    named = stage(f"stages.distill.labels.folder={again}", "stages.distill.labels.views=3")
    with pytest.raises(DataError, match=r"made with views\.number 2, this run has 3"):
        filled_cache(named, load_teacher(stage().run, "teacher"))


def test_of_fewer_classes_than_k_all_logits_are_kept(trained):
    """The default keeps ten, and these are four classes."""
    load, out, root = trained
    descriptions = []
    for k in ("10", "4", "null"):
        stage = Run(load(f"stages.distill.labels.k={k}"), out, root, HERE).stage("distill")
        teacher = load_teacher(stage.run, "teacher")
        descriptions.append(manifest(stage, teacher, images_of(stage.run, *stage.settings.data.train)))
        assert open_cache(stage, teacher)[0].layout.k == 4
    assert descriptions[0] == descriptions[1] == descriptions[2]
    assert descriptions[0]["labels"] == {"classes": 4, "k": 4}


def test_a_recipe_with_a_cache_needs_running_statistics_a_teacher_and_a_size(trained):
    load = trained[0]
    with pytest.raises(RecipeError, match=r"stages\.distill\.labels: with teacher\.norm: batch the logits .* depend"):
        load("teacher.norm=batch")
    for key, most in (("views", "10,000"), ("k", "1,000,000")):
        with pytest.raises(RecipeError, match=rf"labels\.{key}: should be an integer from 1 to {most}.*; got 0$"):
            load(f"stages.distill.labels.{key}=0")
    with pytest.raises(RecipeError, match=r"stages\.teach\.labels: no loss of this stage learns from a teacher"):
        load("stages.teach.labels={views: 1}")


def test_a_stage_without_a_cache_has_the_digest_that_it_had_before_there_were_caches(trained):
    plan = replace_labels(trained[0](), None)
    assert all("labels" not in stage for stage in digested(plan)["stages"].values())
    assert plan.digest != trained[0]().digest
    tree = recipe.plan_tree(plan)
    assert json.loads(json.dumps(tree)) == tree
