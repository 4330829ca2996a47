"""These tests compare the arithmetic of `ssld plan` with numbers worked out by hand, and ask what it refuses."""

import json
from typing import get_args, get_type_hints

import paddle
import pytest

from ssld.cli import main
from ssld.config import cards, cost, recipe
from ssld.config.run_folder import write_plan
from ssld.distill import training_rate
from ssld.distill.optim import make_optimizer
from ssld.distill.teachers import Teacher
from ssld.planning import cost_line, parts_of
from tests.unit.some_recipe import TREE, changed, written

R50 = "resnet50_vd_ssld"
IMAGES = 1_281_167 + 4_000_000  # these are ImageNet-1k, and the 4,000 best of 1,000 classes


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Return an empty working folder, in which no list is."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SSLD_DATA", raising=False)
    return tmp_path


@pytest.fixture
def lists(place):
    """Write the lists of TREE, with 100 and 61 images, and a blank line."""
    (place / "data/d").mkdir(parents=True)
    (place / "data/d/train.txt").write_text("a.jpg 1\n" * 100 + "\n")
    (place / "data/d/more.txt").write_text("b.jpg\n" * 61)
    written(place, TREE)
    return place


def planned(capsys, *words):
    """Return the JSON of a plan at 100 images a second, unless the words say another rate."""
    rate = () if "--rate" in words else ("--rate", "100")
    main(["plan", *words, *rate, "--json"])
    return json.loads(capsys.readouterr().out)


def parts(plan):
    return {part["part"]: part for part in plan["parts"]}


def refused(capsys, *words):
    """Return the line of a plan that cannot be made."""
    with pytest.raises(SystemExit) as caught:
        main(["plan", *words])
    assert capsys.readouterr().out == ""
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- images, steps, arithmetic


def test_the_published_protocol_has_the_known_sizes_of_its_lists(place, capsys):
    parts_by_name = parts(planned(capsys, R50))
    assert list(parts_by_name) == ["imagenet_mined", "distill", "finetune"]
    mined, distill, finetune = parts_by_name.values()
    assert (mined["images"], mined["samples"], mined["counted"]) == (14_197_122, 14_197_122, "known size")
    assert (distill["images"], distill["counted"]) == (IMAGES, "known size + at most k x 1,000")
    assert distill["steps"] == 360 * (IMAGES // 1024) == 1_856_520
    assert distill["samples"] == 1_856_520 * 1024
    assert distill["imagenet_epochs"] == pytest.approx(1483.86, abs=0.01)
    assert (finetune["steps"], finetune["batch"], finetune["lr"]) == (60 * (1_281_167 // 1024), 1024, 0.004)


def test_another_k_is_another_upper_bound(place, capsys):
    parts_by_name = parts(planned(capsys, R50, "prepare.imagenet_mined.k=100"))
    assert parts_by_name["distill"]["images"] == 1_281_167 + 100_000


def test_lists_that_are_there_are_counted(lists, capsys):
    parts_by_name = parts(planned(capsys, "some.yaml", "stages.plain.epochs=2.5"))
    assert [(part["images"], part["counted"]) for part in parts_by_name.values()] == [(100, "list")] * 2 + [
        (161, "list"), (100, "list")
    ]  # fmt: skip
    # These are 2.5 epochs of 12 whole batches of 8.
    assert (parts_by_name["plain"]["steps"], parts_by_name["plain"]["samples"]) == (
        30,
        240,
    )
    assert parts_by_name["distill"]["steps"] == 4 * 20


def test_a_finished_mining_says_how_large_its_pool_was_and_its_list_is_counted(place, capsys):
    (place / "data/imagenet_mined").mkdir(parents=True)
    (place / "data/imagenet_mined/mining.json").write_text('{"counts": {"images": 7000}}')
    (place / "data/imagenet_mined/mined.txt").write_text("a.jpg\n" * 5000)
    parts_by_name = parts(planned(capsys, R50))
    assert (parts_by_name["imagenet_mined"]["images"], parts_by_name["imagenet_mined"]["counted"]) == (
        7000,
        "already mined",
    )
    assert parts_by_name["distill"]["images"] == 1_281_167 + 5000


def test_a_pool_of_unknown_size_is_left_out_of_the_sums_and_named(place, capsys):
    plan = planned(capsys, R50, "prepare.imagenet_mined.sources=[pool]")
    assert parts(plan)["imagenet_mined"]["images"] is None
    assert plan["total"]["without"] == ["imagenet_mined"]
    (place / "data/pool").mkdir(parents=True)
    (place / "data/pool/list.txt").write_text("a.jpg\n" * 300)
    plan = planned(capsys, R50, "prepare.imagenet_mined.sources=[pool/list.txt]")
    assert (parts(plan)["imagenet_mined"]["images"], plan["total"]["without"]) == (300, [])


def test_multiply_adds_are_three_forward_passes_of_the_student_and_one_of_the_teacher(place, capsys):
    parts_by_name = parts(planned(capsys, R50))
    assert parts_by_name["distill"]["macs_per_image"] == 3 * 4_328_824_832 + 36_163_289_088
    assert parts_by_name["imagenet_mined"]["macs_per_image"] == 36_163_289_088
    hours = 49_149_763_584 * 1_901_076_480 / (0.5 * 7.85e12) / 3600
    assert parts_by_name["distill"]["gpu_hours_estimate"] == pytest.approx(hours) == pytest.approx(6612.7, abs=0.1)


def test_a_stage_that_trains_the_head_alone_goes_back_through_nothing_and_scales_with_its_pixels(place, capsys):
    fix = parts(planned(capsys, "fix_resnet50_vd_ssld_v2"))["fix"]
    # It has no teacher and learns from labels.
    assert fix["macs_per_image"] == pytest.approx(4_328_824_832 * (320 / 224) ** 2)
    counted = cards.find_model("Fix_ResNet50_vd_ssld_v2").macs
    assert fix["macs_per_image"] == pytest.approx(counted, rel=1e-3)


def test_a_v100_at_half_its_peak_does_3_9_million_million_multiply_adds_a_second():
    assert cost.gpu_hours(3600 * 3.925e12) == pytest.approx(1)


def test_a_trained_teacher_costs_what_its_stage_and_its_forward_passes_cost(lists, capsys):
    parts_by_name = parts(planned(capsys, "some.yaml", "stages.teach.data.size=64"))
    small, large = cards.find_student("MobileNetV3_small_x0_35").macs, cards.find_student("ResNet18").macs
    assert parts_by_name["teach"]["macs_per_image"] == pytest.approx(3 * large * (64 / 224) ** 2)
    assert parts_by_name["plain"]["macs_per_image"] == pytest.approx(3 * small * (32 / 224) ** 2)
    assert parts_by_name["distill"]["macs_per_image"] == pytest.approx(
        3 * small * (32 / 224) ** 2 + large * (64 / 224) ** 2
    )  # fmt: skip


def keep_plan(folder, plan):
    write_plan(folder, plan.digest, recipe.dump(plan))


def test_a_pool_that_a_run_s_teacher_scores_costs_its_forward_passes(lists, capsys, monkeypatch):
    (lists / "run").mkdir()
    keep_plan(lists / "run", recipe.load("some.yaml", ["stages.teach.data.size=64"]))
    mine = ("dataset=null", "prepare={mined: {sources: [pool], teacher: run, against: val.txt, k: 5}}")
    parts_by_name = parts(planned(capsys, "some.yaml", *mine))
    large = cards.find_student("ResNet18").macs
    assert parts_by_name["mined"]["macs_per_image"] == pytest.approx(large * (64 / 224) ** 2)
    assert refused(capsys, "some.yaml", *mine, "--rate", "measured", "--device", "cpu") == (
        "ssld plan: teacher run: this run has trained no teacher; give another run, or a card"
    )
    keep_plan(lists / "run", recipe.load("fashion_mnist_int8_resnet"))
    assert "this run trains no teacher" in refused(capsys, "some.yaml", *mine)


# --- cards


def test_the_batch_of_24_cards_on_8_is_three_micro_batches(place, capsys):
    plan = planned(capsys, "mobilenet_v3_large_x1_0_ssld", "--cards", "8", "--per-card", "256")
    parts_by_name = parts(plan)
    assert (parts_by_name["distill"]["micro"], parts_by_name["distill"]["accumulate"]) == (240, 3)
    assert (parts_by_name["finetune"]["micro"], parts_by_name["finetune"]["accumulate"]) == (256, 1)
    assert plan["command"] == (
        "ssld run mobilenet_v3_large_x1_0_ssld stages.distill.optim.accumulate=3 --ranks 8"
    )  # fmt: skip
    # The command can be typed as it is printed.
    recipe.load("mobilenet_v3_large_x1_0_ssld", plan["command"].split()[3:4])


def test_without_a_limit_the_recipe_s_own_micro_batches_stay(place, capsys):
    plan = planned(capsys, R50, "stages.distill.optim.accumulate=4", "--cards", "4")
    assert (parts(plan)["distill"]["micro"], parts(plan)["distill"]["accumulate"]) == (64, 4)
    assert plan["command"] == f"ssld run {R50} stages.distill.optim.accumulate=4 --ranks 4"


def test_cards_share_the_time_and_leave_the_estimate_alone(place, capsys):
    one, four = planned(capsys, R50), planned(capsys, R50, "--cards", "4")
    assert one["total"]["hours"] == pytest.approx(4 * four["total"]["hours"])
    assert one["total"]["gpu_hours_estimate"] == four["total"]["gpu_hours_estimate"]


def test_a_given_rate_is_that_of_the_longest_stage_and_others_go_by_their_multiply_adds(place, capsys):
    parts_by_name = parts(planned(capsys, "fix_resnet50_vd_ssld_v2", "--rate", "50"))
    assert parts_by_name["distill"]["images_per_second"] == parts_by_name["finetune"]["images_per_second"] == 50
    assert parts_by_name["distill"]["hours"] == pytest.approx(parts_by_name["distill"]["samples"] / 50 / 3600)
    ratio = parts_by_name["distill"]["macs_per_image"] / parts_by_name["fix"]["macs_per_image"]
    assert parts_by_name["fix"]["images_per_second"] == pytest.approx(50 * ratio)


def test_another_batch_gets_the_rate_of_linear_scaling_as_something_to_type(place, capsys):
    assert planned(capsys, R50)["linear_scaling"] == []
    plan = planned(capsys, R50, "stages.distill.data.batch=256", "stages.finetune.epochs=30")
    assert plan["linear_scaling"] == ["stages.distill.data.batch=256 stages.distill.optim.lr=0.1"]
    assert parts(plan)["distill"]["lr"] == 0.4  # the plan changes nothing
    typed = plan["linear_scaling"][0].split()
    assert planned(capsys, R50, *typed)["linear_scaling"] == []


# --- storage


def test_a_label_cache_takes_its_views_times_images_times_bytes_of_a_record(place, capsys):
    words = ("teacher.norm=running", "stages.distill.labels={views: 4}")
    plan = planned(capsys, R50, *words)
    assert plan["storage"]["label_caches"] == 4 * IMAGES * 35  # docs/labels.md says 35 bytes for 10 of 1,000 classes
    parts_by_name = parts(plan)
    assert list(parts_by_name) == ["imagenet_mined", "labels of distill", "distill", "finetune"]
    assert parts_by_name["labels of distill"]["samples"] == 4 * IMAGES
    assert parts_by_name["distill"]["macs_per_image"] == 3 * 4_328_824_832  # the teacher was asked before
    assert "'stages.distill.labels={views: 4}'" in plan["command"]  # this is how a shell takes it


def test_stages_with_the_same_views_share_a_cache(lists, capsys):
    tree = changed(TREE, "teacher.norm", "running")
    for name in ("distill", "finetune"):
        tree = changed(tree, f"stages.{name}.labels", {"views": 2})
    written(lists, tree)
    size = 2 * (1 + 10)  # so many bytes hold all 10 logits
    assert planned(capsys, "some.yaml")["storage"]["label_caches"] == 2 * (161 + 100) * size
    written(lists, changed(tree, "stages.finetune.data", {"train": ["d/train.txt", "d/more.txt"]}))
    plan = planned(capsys, "some.yaml")
    assert plan["storage"]["label_caches"] == 2 * 161 * size
    assert [part for part in parts(plan) if "labels" in part] == ["labels of distill"]


def test_checkpoints_and_exports_are_counted_by_the_weights(place, capsys):
    params = 25_576_264
    kept = planned(capsys, R50)["storage"]
    # This is stages x (checkpoints x (weights, momentum), result).
    assert kept["checkpoints"] == 2 * (2 * 2 + 1) * 4 * params
    assert kept["exports"] == 2 * 4 * params  # the two formats are paddle and onnx
    other = planned(capsys, R50, "export.formats=[onnx, fp16, int8]", "stages.distill.optim.ema=0.99")["storage"]
    assert other["exports"] == (4 + 2 + 4) * params  # int8 has its weights in float32, before their pairs
    assert other["checkpoints"] == kept["checkpoints"] + 2 * 4 * params


def test_every_optimizer_keeps_a_known_number_of_values_a_weight():
    assert set(cost.SLOTS) == set(get_args(get_type_hints(recipe.Optim)["algorithm"]))
    weight = paddle.create_parameter([2, 3], "float32")
    for algorithm, slots in cost.SLOTS.items():
        optimizer = make_optimizer(recipe.Optim(lr=0.1, algorithm=algorithm), [weight])
        weight.sum().backward()
        optimizer.step()
        kept = [value for value in optimizer.state_dict().values() if getattr(value, "shape", None) == [2, 3]]
        assert len(kept) == slots, algorithm


# --- what is refused


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("--cards", "7"),
            "--cards 7: stages.distill.data.batch 1024 does not divide into 7 cards x 1; a batch that does: "
            "stages.distill.data.batch=1022 stages.distill.optim.lr=0.399219",
        ),
        (
            ("--cards", "7", "--per-card", "64"),
            "--cards 7: stages.distill.data.batch 1024 does not divide among the cards; a batch that does: "
            "stages.distill.data.batch=1022 stages.distill.optim.lr=0.399219",
        ),
        (
            ("stages.distill.data.batch=1018", "--cards", "2", "--per-card", "64"),
            "--per-card 64: the 509 images of a card (stages.distill.data.batch 1018) divide into 1 at a time; a batch "
            "that does: stages.distill.data.batch=1024 stages.distill.optim.lr=0.402358",
        ),
        (("stages.distill.data.batch=6000000",), "stage distill: 5281167 training images do not fill one global batch"),
        (("stages.distill.data.train=[x/y.txt]",), "stage distill: data/x/y.txt: no such list file, and its size is"),
        (("stages.distil.epochs=3",), "override stages.distil.epochs: no key 'distil'; did you mean 'distill'?"),
    ],
)
def test_what_cannot_be_planned_is_one_line(place, capsys, words, message):
    rate = () if "--rate" in words else ("--rate", "100")
    assert refused(capsys, R50, *words, *rate).startswith(f"ssld plan: {message}")


def test_a_recipe_without_stages_is_one_line(place, capsys):
    written(place, {**TREE, "stages": {}})
    assert refused(capsys, "some.yaml") == "ssld plan: some.yaml: stages: a recipe needs at least one stage"


# --- what a person reads


def test_the_text_holds_two_tables_and_what_to_type(place, capsys):
    main(["plan", "mobilenet_v3_large_x1_0_ssld", "stages.finetune.data.batch=1024", "--cards", "8", "--rate", "500"])
    text = capsys.readouterr().out
    assert text.startswith("MobileNetV3_large_x1_0_ssld: published 75.32 -> 78.96\npart ")
    for line in (
        "8 cards; 500 images a second a card in the longest stage, as given",
        "V100 hours (estimate)",
        "ssld run mobilenet_v3_large_x1_0_ssld stages.finetune.data.batch=1024 --ranks 8",
        "linear scaling of lr gives stages.finetune.data.batch=1024 stages.finetune.optim.lr=0.004",
    ):
        assert line in text
    assert next(line.split()[-1] for line in text.splitlines() if line.startswith("finetune ")) == "0.008"


def test_the_cost_line_is_the_sum_of_the_table(place, capsys):
    plan = planned(capsys, R50)
    line = cost_line(parts_of(recipe.load(R50), place))
    assert plan["cost"] == line
    assert line == (
        "1,544 ImageNet-1k epochs (1.98e+09 images), 14,197,122 images to score: 6,916 V100 hours (estimate)"
    )  # fmt: skip
    assert plan["total"]["imagenet_epochs"] == pytest.approx(1544, abs=0.5)
    assert plan["total"]["gpu_hours_estimate"] == pytest.approx(6916, abs=0.5)


# --- measured


def test_a_measured_rate_is_that_of_the_steps_of_each_kind_of_stage(lists, capsys, monkeypatch):
    monkeypatch.setattr(training_rate, "SECONDS", 0.0)
    asked, real = [], training_rate.stage_rate
    monkeypatch.setattr(
        training_rate, "stage_rate", lambda plan, name, *rest: asked.append(name) or real(plan, name, *rest)
    )
    plan = planned(capsys, "some.yaml", "--rate", "measured", "--device", "cpu")
    assert asked == ["teach", "plain", "distill"]  # finetune takes the same steps as distill
    rates = {name: part["images_per_second"] for name, part in parts(plan).items()}
    assert all(rate > 0 for rate in rates.values())
    assert rates["finetune"] == rates["distill"]
    assert plan["rate"] == {"source": "measured here", "images_per_second": None}
    assert {path.name for path in lists.iterdir()} == {"data", "some.yaml"}  # no file is left behind


def test_the_teacher_is_measured_beside_the_student_but_not_with_a_cache(lists, monkeypatch):
    monkeypatch.setattr(training_rate, "SECONDS", 0.0)
    seen, real = [], Teacher.on
    monkeypatch.setattr(Teacher, "on", lambda self, *arguments: seen.append(self.norm) or real(self, *arguments))
    tree = changed(TREE, "teacher.norm", "running")
    written(lists, changed(tree, "stages.finetune.labels", {"views": 1}))
    plan, runtime = recipe.load("some.yaml"), training_rate.Runtime(rank=0, world=1, gpu=None)
    training_rate.stage_rate(plan, "distill", 8, runtime)
    assert seen == ["running"]
    training_rate.stage_rate(plan, "finetune", 8, runtime)
    training_rate.stage_rate(plan, "plain", 8, runtime)
    assert seen == ["running"]
    assert training_rate.teacher_rate(plan, "finetune", 8, runtime) > 0
    assert seen == ["running"] * 2


def test_a_measured_step_is_large_enough_to_fill_the_device_and_no_larger_than_the_plan_s():
    cpu, gpu = (training_rate.Runtime(rank=0, world=1, gpu=gpu) for gpu in (None, 0))
    assert [training_rate.at_a_time(macs, 64, cpu) for macs in (1e6, 5e9, 49e9, 400e9)] == [64, 20, 2, 2]
    assert [training_rate.at_a_time(macs, 1024, gpu) for macs in (1e6, 5e9, 49e9)] == [1024, 800, 82]
    assert training_rate.at_a_time(1e6, 1, cpu) == 1


def test_mixed_precision_is_not_measured_without_a_gpu(lists, capsys):
    words = ("stages.teach.optim.amp=O1", "--device", "cpu")
    assert "optim.amp O1 needs a GPU; measure on one, or give --rate" in refused(capsys, "some.yaml", *words)
