"""These tests run a whole mining: counts, the list, resuming, parts, refusals."""

import csv
import hashlib
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from ssld import data
from ssld.config.mine_step import Mine, check_mine
from ssld.data import read_list
from ssld.errors import DataError, RecipeError, RunError
from ssld.mine import mine, mining_job, results, sources
from ssld.mine.select import choose
from tests.campaign.damage import WAYS, counterpart, damage
from tests.unit.mine_place import colours, job, plain, png, teacher, tiles, write_tar, write_validation

LEVELS = (90, 130, 170, 210)


def pool(folder):
    """Return 12 pictures, 4 of each of three classes; the more of its colour, the higher the score."""
    folder.mkdir(parents=True)
    for colour, name in enumerate("rgb"):
        for level in LEVELS:
            plain(colour, level).save(folder / f"{name}{level}.png")
    return folder


def shard_by_shard(monkeypatch, size=2):
    monkeypatch.setattr(sources, "SHARD", size)


def lines(out):
    return (out / "mined.txt").read_text().splitlines()


def chosen(out):
    """Return the names of the chosen images, without their folders."""
    return [path.rpartition("/")[2] for path in lines(out)]


def table(file):
    with open(file, newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def bytes_of(out):
    names = ("mined.txt", "mined.csv", "removed.csv", "unreadable.csv", "sheet.html", "mining.json")
    return {name: (out / name).read_bytes() for name in names}


class Counting:
    """It is `colours`, counts the images that it was asked about, and may stop like a killed process."""

    def __init__(self, stop_after=10**9):
        self.asked, self.stop_after = 0, stop_after

    def __call__(self, images):
        if self.asked >= self.stop_after:
            raise KeyboardInterrupt
        self.asked += len(images)
        return colours(images)


def test_the_best_of_each_class_are_chosen_and_the_list_can_be_read_from_where_it_lies(tmp_path):
    done = mine(job(tmp_path, pool(tmp_path / "pool"), k=2))
    assert chosen(tmp_path / "out") == ["r210.png", "r170.png", "g210.png", "g170.png", "b210.png", "b170.png"]
    files = read_list(tmp_path / "out/mined.txt", tmp_path / "out")
    assert files.labels.tolist() == [-1] * 6
    assert data.check(files).images == 6
    assert not data.check(files).bad
    assert done["counts"]["selected"] == 6
    assert done["counts"]["not_among_the_k_best"] == 6
    assert done["list_sha256"] == hashlib.sha256((tmp_path / "out/mined.txt").read_bytes()).hexdigest()
    assert [row["class"] for row in table(tmp_path / "out/mined.csv")] == ["0", "0", "1", "1", "2", "2"]


def test_every_image_is_counted_once_for_what_became_of_it(tmp_path):
    """The counts are worked out by hand.

    There are 12 pictures, 1 equal to another, 1 broken and 1 empty file, and 2 copies of validation images.
    """
    folder = pool(tmp_path / "pool")
    shutil.copy(folder / "r210.png", folder / "z_again.png")
    (folder / "broken.png").write_bytes(b"\x89PNG no more")
    (folder / "empty.png").write_bytes(b"")
    write_validation(tmp_path / "val", tiles()[:2])
    tiles()[0].save(folder / "near.jpg", quality=50)
    tiles()[1].transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(folder / "turned.png")
    done = mine(job(tmp_path, folder, k=3, min_score=0.4))
    scores = [float(row["score"]) for row in table(tmp_path / "out/mined.csv")]
    counts = done["counts"]
    assert min(scores) >= 0.4
    assert counts["images"] == 17
    assert (counts["unreadable"], counts["copies"], counts["near_duplicates"], counts["scored"]) == (2, 1, 2, 12)
    assert counts["below_min_score"] + counts["not_among_the_k_best"] + counts["selected"] == 12
    faults = table(tmp_path / "out/unreadable.csv")
    assert [row["image"] for row in faults] == [str(folder / "broken.png"), str(folder / "empty.png")]
    assert [row["reason"][:15] for row in faults] == ["no image that c", "the file is emp"]
    pairs = [(row["image"], row["validation_image"]) for row in table(tmp_path / "out/removed.csv")]
    assert pairs == [
        (str(folder / "near.jpg"), str(tmp_path / "val/0.png")),
        (str(folder / "turned.png"), str(tmp_path / "val/1.png")),
    ]
    page = (tmp_path / "out/sheet.html").read_text()
    assert page.count("data:image/jpeg") >= 4 + counts["selected"]
    assert "near.jpg" in page


def test_images_of_a_tar_are_written_beside_the_list_under_the_name_of_their_content(tmp_path):
    members = {f"{name}.png": png(plain(colour, 200)) for colour, name in enumerate("rgb")}
    write_tar(tmp_path / "pool.tar", members)
    mine(job(tmp_path, tmp_path / "pool.tar", k=1))
    written = [(tmp_path / "out" / path).read_bytes() for path in lines(tmp_path / "out")]
    assert written == list(members.values())
    assert all(path.startswith("images/") and path.endswith(".png") for path in lines(tmp_path / "out"))


def test_a_tar_that_changed_after_it_was_scored_is_named(tmp_path, monkeypatch):
    data = png(plain(0, 200))
    write_tar(tmp_path / "pool.tar", {"a.png": data})
    asked = job(tmp_path, tmp_path / "pool.tar", k=1)
    monkeypatch.setattr(mining_job, "choose", lambda *arguments: pytest.fail("too early"))
    with pytest.raises(pytest.fail.Exception):
        mine(asked)
    monkeypatch.undo()
    raw = (tmp_path / "pool.tar").read_bytes()
    (tmp_path / "pool.tar").write_bytes(raw.replace(data[-20:], b"x" * 20))
    with pytest.raises(RunError, match=r"pool.tar:a.png: has changed since it was scored"):
        mine(asked)


def test_a_mining_that_was_stopped_goes_on_without_scoring_a_finished_shard_again(tmp_path, monkeypatch):
    shard_by_shard(monkeypatch)
    folder = pool(tmp_path / "pool")
    whole = Counting()
    mine(job(tmp_path, folder, out="whole", scorer=teacher(whole)))
    assert whole.asked == 12
    shutil.rmtree(tmp_path / "whole" / next(p.name for p in (tmp_path / "whole").glob("scores-*")))
    stopped = Counting(stop_after=5)
    with pytest.raises(KeyboardInterrupt):
        mine(job(tmp_path, folder, scorer=teacher(stopped)))
    assert len([*(tmp_path / "out").glob("scores-*/*.npz")]) == 3
    assert not (tmp_path / "out/mined.txt").exists()
    rest = Counting()
    mine(job(tmp_path, folder, scorer=teacher(rest)))
    assert (stopped.asked, rest.asked) == (6, 6)
    assert bytes_of(tmp_path / "out") == bytes_of(tmp_path / "whole")


def test_what_a_killed_mining_did_not_finish_is_cleared_by_the_next_one(tmp_path):
    folder, left = pool(tmp_path / "pool"), "partial-4194304"
    for name in (f"job.json.{left}", f"mined.txt.{left}"):
        (tmp_path / "out").mkdir(exist_ok=True)
        (tmp_path / "out" / name).write_text("half")
    mine(job(tmp_path, folder))
    before = bytes_of(tmp_path / "out")
    (tmp_path / "out" / "mining.json").unlink()
    (job(tmp_path, folder).files()[0].parent / f"0123.npz.{left}").write_bytes(b"half")
    mine(job(tmp_path, folder))
    assert bytes_of(tmp_path / "out") == before
    assert not [*(tmp_path / "out").rglob("*.partial*")]


def test_a_finished_mining_is_not_repeated(tmp_path):
    folder = pool(tmp_path / "pool")
    first = mine(job(tmp_path, folder))
    assert mine(job(tmp_path, folder, scorer=teacher(lambda images: pytest.fail("asked again")))) == first


def test_parts_in_any_order_give_what_one_process_gives(tmp_path, monkeypatch):
    """They do so also where the copy of an image lies in an earlier shard that was scored later."""
    shard_by_shard(monkeypatch)
    folder = pool(tmp_path / "pool")
    shutil.copy(folder / "r210.png", folder / "a_first.png")
    mine(job(tmp_path, folder, out="whole"))
    for part in ((3, 3), (1, 3)):
        done = mine(job(tmp_path, folder, out="other/parts", part=part))
        assert "list" not in done
    assert done["shards_left"] == 2
    mine(job(tmp_path, folder, out="other/parts"))
    assert bytes_of(tmp_path / "other/parts") == bytes_of(tmp_path / "whole")
    assert "a_first.png" in chosen(tmp_path / "whole")
    assert "r210.png" not in chosen(tmp_path / "whole")


def test_another_k_takes_the_scores_over_from_the_folder_beside_it(tmp_path):
    folder = pool(tmp_path / "pool")
    mine(job(tmp_path, folder, k=1))
    mine(job(tmp_path, folder, k=3, out="more", scorer=teacher(lambda images: pytest.fail("asked again"))))
    assert len(lines(tmp_path / "more")) == 9


def test_a_pool_that_grew_costs_the_new_shards_only(tmp_path):
    tars = [tmp_path / f"{number}.tar" for number in range(3)]
    for number, tar in enumerate(tars):
        write_tar(tar, {f"{colour}.png": png(plain(colour, 100 + 30 * number)) for colour in range(3)})
    mine(job(tmp_path, *tars[1:]))
    rest = Counting()
    mine(job(tmp_path, *tars, out="more", scorer=teacher(rest)))
    assert rest.asked == 3
    mine(job(tmp_path, *tars, out="elsewhere/more"))
    assert bytes_of(tmp_path / "elsewhere/more") == bytes_of(tmp_path / "more")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("k", "options.k is 2 there and 3 here"),
        ("teacher", "teacher.weights is .* there"),
        ("validation", "against.sha256 is .* there"),
        ("pool", "pool is .* there"),
    ],
)
def test_an_output_folder_of_another_mining_is_refused_and_left_alone(tmp_path, change, named):
    folder = pool(tmp_path / "pool")
    mine(job(tmp_path, folder))
    before = bytes_of(tmp_path / "out")
    if change == "validation":
        (tmp_path / "val/val.txt").write_text("0.png 0\n")
    if change == "pool":
        plain(0, 50).save(folder / "new.png")
    other = job(
        tmp_path, folder, k=3 if change == "k" else 2, scorer=teacher(weights="x") if change == "teacher" else None
    )
    with pytest.raises(RunError, match=rf"out: holds another mining \({named}.*\); choose another --out"):
        mine(other)
    assert bytes_of(tmp_path / "out") == before


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.txt").write_text("mine")
    with pytest.raises(RunError, match="out: is not empty and holds no mining; choose another --out"):
        mine(job(tmp_path, pool(tmp_path / "pool")))
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["thesis.txt"]


def test_an_image_that_serves_all_its_classes_is_listed_once(tmp_path):
    """Each class has 4 pictures of its own and 2 that show it second: 18 rows of 12 pictures."""
    mine(job(tmp_path, pool(tmp_path / "pool"), k=6, assign="all", min_score=0.1))
    listed = lines(tmp_path / "out")
    assert len(table(tmp_path / "out/mined.csv")) == 18
    assert len(listed) == len(set(listed)) == 12


def test_the_histogram_counts_a_chosen_image_once_by_its_best_score(tmp_path):
    """All serve every class, but the three brightest not those that they do not show: exp(-4 * 150 / 127.5) < 0.01."""
    asked = job(tmp_path, pool(tmp_path / "pool"), k=12, assign="all", min_score=0.01)
    mine(asked)
    choice = choose(asked.files(), 3, asked.options)
    assert len(choice.rows) == 36 - 6
    assert choice.scores[0].sum() == 12
    assert choice.scores[1].tolist() == choice.scores[0].tolist()


def test_when_nothing_reaches_the_score_it_is_said_and_no_list_is_written(tmp_path):
    with pytest.raises(DataError, match="no image was chosen; lower --min-score"):
        mine(job(tmp_path, pool(tmp_path / "pool"), min_score=1.0))
    assert not (tmp_path / "out/mined.txt").exists()


def test_a_teacher_that_gives_no_numbers_is_an_error_that_names_the_image(tmp_path):
    def broken(images):
        scores = colours(images)
        scores[1] = np.nan
        return scores

    with pytest.raises(RunError, match=r"b170\.png: the teacher gives a score that is not a number"):
        mine(job(tmp_path, pool(tmp_path / "pool"), scorer=teacher(broken)))


def test_a_damaged_result_is_named_with_what_to_do(tmp_path):
    asked = job(tmp_path, pool(tmp_path / "pool"))
    mine(asked)
    (file,) = (tmp_path / "out").glob("scores-*/*.npz")
    file.write_bytes(file.read_bytes()[:200])
    (tmp_path / "out/mining.json").unlink()
    with pytest.raises(RunError, match=r"npz: damaged \(.*\); remove it, and the same command scores this shard again"):
        mine(asked)
    file.unlink()
    assert mine(asked)["counts"]["selected"] == 6


def test_a_mining_is_never_used_in_silence_when_one_of_its_files_was_damaged(tmp_path, monkeypatch, capsys):
    """Each file in every way: the folder is as before, after the same command or after what its message says to do."""
    shard_by_shard(monkeypatch, 6)
    folder, asked = pool(tmp_path / "pool"), Counting()
    mine(job(tmp_path, folder, out="good/out"))
    mine(job(tmp_path, folder, k=1, out="else/out", scorer=teacher(weights="x")))
    good, tried = bytes_of(tmp_path / "good/out"), 0
    scores = [path.relative_to(tmp_path / "good/out").as_posix() for path in (tmp_path / "good/out").glob("scores-*/*")]
    assert len(scores) == 2
    for name in ("job.json", "mining.json", "mined.txt", *scores):
        for way in WAYS:
            shutil.rmtree(tmp_path / "out", ignore_errors=True)
            shutil.copytree(tmp_path / "good/out", tmp_path / "out")
            if name in scores:
                (tmp_path / "out/mining.json").unlink()  # they are read until the mining is finished
            file, other = tmp_path / "out" / name, counterpart(tmp_path / "else/out", name)
            if not damage(file, way, other):
                continue
            tried += 1
            capsys.readouterr()
            said = refusal(job(tmp_path, folder, scorer=teacher(asked)))
            if said:
                follow(said, file, tmp_path / "out", tmp_path / "good/out")
                mine(job(tmp_path, folder, scorer=teacher(asked)))
            unread = name not in ("job.json", "mined.txt") and way in ("deleted", "replaced by a link to itself")
            unread = unread or (name in scores and "byte" in way)  # some bytes of an archive mean nothing
            said = said or capsys.readouterr().err
            assert unread or file.name in said or "holds another mining" in said, (name, way)
            assert bytes_of(tmp_path / "out") == good, (name, way)
    assert tried > 4 * (len(WAYS) - 3)
    assert asked.asked <= 6 * 2 * len(WAYS)  # only what was damaged is scored again


def refusal(asked):
    """What a mining says where it stops, or None."""
    try:
        mine(asked)
    except (RunError, DataError) as error:
        return str(error)
    return None


def follow(message, file, out, good):
    """Do what a message says: remove the file, or choose another --out, for which a copy of what is whole stands."""
    if "; remove it" in message or ": is a folder" in message:
        file.rmdir() if file.is_dir() else file.unlink()
    else:
        assert "choose another --out" in message, message
        shutil.rmtree(out)
        shutil.copytree(good, out)


def test_a_damaged_result_of_a_mining_beside_is_not_taken_over(tmp_path, capsys):
    """Else the advice to remove it would bring it back."""
    folder, asked = pool(tmp_path / "pool"), Counting()
    mine(job(tmp_path, folder, k=1))
    (file,) = (tmp_path / "out").glob("scores-*/*.npz")
    damage(file, "cut in its middle")
    mine(job(tmp_path, folder, k=3, out="more", scorer=teacher(asked)))
    assert f"{file}: damaged" in capsys.readouterr().err
    assert asked.asked == 12
    assert len(lines(tmp_path / "more")) == 9


def test_a_list_that_somebody_changed_is_named_and_not_written_over(tmp_path):
    asked = job(tmp_path, pool(tmp_path / "pool"))
    mine(asked)
    listed = (tmp_path / "out/mined.txt").read_text()
    (tmp_path / "out/mined.txt").write_text(listed.partition("\n")[2])
    with pytest.raises(RunError, match=r"mined.txt: damaged .*; remove it, and the same command writes it anew"):
        mine(asked)
    (tmp_path / "out/mined.txt").unlink()
    mine(asked)
    assert (tmp_path / "out/mined.txt").read_text() == listed


def test_a_mining_that_was_killed_while_it_wrote_its_first_file_goes_on(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/job.json.partial-4194304").write_text('{"dig')
    assert mine(job(tmp_path, pool(tmp_path / "pool")))["counts"]["selected"] == 6


def test_a_result_is_read_back_as_it_was_written(tmp_path):
    asked = job(tmp_path, pool(tmp_path / "pool"))
    mine(asked)
    (file,) = asked.files()
    content = results.load(file)
    results.save(content, tmp_path / "again.npz")
    again = results.load(tmp_path / "again.npz")
    assert again.items == content.items
    assert (again.reasons, again.near, again.looked) == (content.reasons, content.near, content.looked)
    for name in results.ARRAYS:
        np.testing.assert_array_equal(getattr(again, name), getattr(content, name))


def test_the_digest_says_what_was_mined_and_how(tmp_path):
    asked = job(tmp_path, pool(tmp_path / "pool"))
    other = replace(asked, options=replace(asked.options, k=5))
    assert asked.about()["digest"] != other.about()["digest"]
    assert asked.files() == other.files()  # but the scored shards serve both
    content = json.loads(json.dumps(asked.about()))
    assert content["thresholds"]["inliers"] > 0
    assert content["against"]["sha256"] == hashlib.sha256((tmp_path / "val/val.txt").read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "mine: k: should be an integer from 1 to 1,000,000; got 0"),
        ({"min_score": 1.5}, "mine: min_score: should be a number from 0 to 1; got 1.5"),
        ({"assign": "all"}, "mine: min_score: 0.0 with assign all; give 0.01 to 1"),
        ({"gate": -1}, "mine: gate: should be an integer from 0 to 1,000,000; got -1"),
    ],
)
def test_numbers_that_choose_nothing_or_too_much_are_errors(options, message):
    step = Mine(**{"sources": ("pool",), "teacher": "a", "against": "val.txt", "k": 1, **options})
    with pytest.raises(RecipeError) as error:
        check_mine(step, "mine: ")
    assert str(error.value) == message
