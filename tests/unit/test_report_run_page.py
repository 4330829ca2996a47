"""These tests ask whether report.html is complete, self-contained, and the same for equal input."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ssld.config.run_folder import write_plan
from ssld.errors import RunError
from ssld.report import samples, write_report
from tests.unit.fake_run import make_result, make_run, metrics, sample_arrays, short

VOID = {"meta", "img", "br", "path", "use", "rect"}


class Reader(HTMLParser):
    """It checks that elements close in order, and keeps attributes and the visible text."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_run(tmp_path_factory.mktemp("runs") / "quickstart-0123")
    write_report(folder)
    return folder


@pytest.fixture(scope="module")
def page(run: Path) -> str:
    return (run / "report.html").read_text(encoding="utf-8")


def test_the_page_is_well_formed(page: str) -> None:
    assert Reader(page).open == []


def test_the_page_loads_nothing(page: str) -> None:
    links = [value for _, name, value in Reader(page).attributes if name in ("src", "href", "xlink:href", "srcset")]
    assert links
    assert all(value.startswith(("data:image/", "#")) for value in links)
    assert not re.search(r"https?:|@import|url\((?!#)|<script|<link", page)


def test_the_page_is_small(run: Path) -> None:
    assert (run / "report.html").stat().st_size < 1_000_000


def test_equal_input_gives_an_equal_page(run: Path, page: str, tmp_path: Path) -> None:
    assert write_report(make_run(tmp_path / "again")).read_text(encoding="utf-8") == page


def test_the_headline_is_that_of_the_result(page: str) -> None:
    text = Reader(page).text
    for part in (
        "teacher 96.83 %",
        "baseline 91.17 %",
        "distilled 96.33 %",
        "gain +5.16",
        "speed-up 5.5\u00a0x",
        "size 2.8 MB",
    ):
        assert " ".join(part.split()) in text


def test_every_stage_has_a_row_and_a_figure(page: str) -> None:
    text = Reader(page).text
    for stage in ("teach", "baseline", "distill", "finetune", "fix"):
        assert len(re.findall(rf"\b{stage}\b", text)) >= 2
    assert page.count('aria-label="Training loss and accuracy over steps"') == 5
    assert "1 min 30 s" in text


def test_all_kinds_of_figures_are_there(page: str) -> None:
    for label in (
        "Validation accuracy over steps",
        "Accuracy against latency",
        "Agreement with the teacher, by class",
        "Reliability diagram",
        "Top-1 of the student, by class",
    ):
        assert page.count(f'aria-label="{label}"') == 1


def test_bench_gate_plan_versions_and_digest_are_there(page: str) -> None:
    text = Reader(page).text
    digest = make_result()["digest"]
    for part in (
        "onnxruntime",
        "3.10e-06",
        "init: distill",
        "paddlepaddle 3.3.1",
        digest,
        "570",
        "97.17 %",
        "674,000 parameters",
    ):
        assert part in text


def test_speeds_that_were_not_steady_say_so_in_the_tile_and_in_their_rows(tmp_path: Path) -> None:
    result = short()
    for row in result["bench"]:
        row |= {"drift": 0.02, "spread": 0.04, "steady": True}
    text = Reader(write_report(without_csv(make_run(tmp_path / "a", result))).read_text(encoding="utf-8")).text
    assert "not steady" not in text.lower()
    (fastest,) = (row for row in result["bench"] if (row["engine"], row["network"], row["batch"]) == FASTEST)
    fastest |= {"drift": -0.31, "spread": 0.18, "steady": False}
    text = Reader(write_report(without_csv(make_run(tmp_path / "b", result))).read_text(encoding="utf-8")).text
    assert "1.70 → 0.31 ms, onnxruntime, batch 1, not steady" in text
    assert "Not steady: the times of a network drifted or spread too much" in text
    assert "-31% 18% no" in text
    assert "+2% 4% yes" in text


FASTEST = ("onnxruntime", "student", 1)


def without_csv(folder: Path) -> Path:
    """The run, whose rows then are those of its result."""
    (folder / "bench.csv").unlink()
    return folder


def test_what_failed_after_the_training_stands_at_the_head_and_in_its_section(tmp_path: Path) -> None:
    failures = {"export": "onnx differs from the model; `ssld export a` repeats it"}
    result = short(export={}, bench=[], failures=failures, remarks=["large sums saturate"])
    text = Reader(write_report(without_csv(make_run(tmp_path / "a", result))).read_text(encoding="utf-8")).text
    assert "Export failed: onnx differs from the model; `ssld export a` repeats it." in text
    assert "This run was not exported: onnx differs from the model; `ssld export a` repeats it." in text
    assert "Large sums saturate." in text


def test_an_export_that_was_made_since_is_shown_with_its_thresholds(tmp_path: Path) -> None:
    result = short(export={}, failures={"export": "onnx differs from the model"})
    folder = make_run(tmp_path / "a", result)
    gate = {"images": 8, "allowed": {"fp32": {"points": 0.0, "share": None}, "int8": {"points": 1.5, "share": 0.7}}}
    gate |= {"formats": {"int8": {"file": "model.int8.onnx", "bytes": 5, "sha256": "ab" * 32, "bound": 0.25}}}
    (folder / "export").mkdir()
    for digest, shown in ((result["digest"], True), ("1" * 64, False)):
        contract = {"digest": digest, "gate": gate}
        (folder / "export/contract.json").write_text(json.dumps(contract), encoding="utf-8")
        text = Reader(write_report(folder).read_text(encoding="utf-8")).text
        since = "This one was made since, within fp32 0 points and what rounding explains, int8 1.5 points and a share"
        assert (since in text) == ("model.int8.onnx" in text) == shown
    (folder / "export/contract.json").write_text("{", encoding="utf-8")
    with pytest.raises(RunError, match=r"contract\.json: damaged \(no JSON.*; `ssld export` of this run"):
        write_report(folder)


def test_figures_follow_light_and_dark(page: str) -> None:
    assert "prefers-color-scheme: dark" in page
    colours = {
        match.lower()
        for svg in re.findall(r"<svg.*?</svg>", page, re.S)
        for match in re.findall(r"#[0-9a-fA-F]{6}\b", svg)
    }
    assert not colours
    used = set(re.findall(r"var\(--([a-z0-9]+)\)", page))
    assert used <= set(re.findall(r"--([a-z0-9]+):", page)) | {"least"}


def test_everything_from_outside_is_escaped(tmp_path: Path) -> None:
    evil = "<script>alert('$x^$')</script>&"
    result = make_result(title=evil, hardware=evil, versions={evil: evil})
    result["student"]["arch"] = result["teacher"]["arch"] = evil
    result["stages"] = {evil: result["stages"]["distill"]}
    for gate in result["export"].values():
        gate["file"] = evil
    folder = make_run(tmp_path / "evil", result)
    lines = [json.dumps({**record, "stage": evil}) for record in metrics() if record["stage"] == "distill"]
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    np.savez(folder / "samples.npz", **{**sample_arrays(), "classes": np.array([evil] * 10)})
    write_plan(folder, result["digest"], json.dumps({"title": evil, "stages": {}}))
    (folder / "bench.csv").write_text((folder / "bench.csv").read_text().replace("onednn", evil))
    text = write_report(folder).read_text(encoding="utf-8")
    assert "<script" not in text
    assert Reader(text).open == []


PARTS: dict[str, tuple[str, dict[str, Any], str]] = {
    "metrics": ("metrics.jsonl", {}, "no curves"),
    "bench": ("bench.csv", {"bench": []}, "This run was not benchmarked."),
    "samples": ("samples.npz", {}, "This run kept no samples."),
    "plan": ("plan.yaml", {}, "This run folder has no plan.yaml."),
    "baseline": ("", {"baseline": None, "gain": None}, "This run has no baseline."),
    "teacher": ("", {"teacher": None, "agreement": None}, "this run has no teacher of its own"),
    "export": ("", {"export": None}, "This run was not exported."),
    "diagram": (
        "",
        {"reliability": None, "ece": None},
        "No reliability diagram: a logit of the student is not finite.",
    ),
}


@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_is_missing_leaves_a_note(tmp_path: Path, part: str) -> None:
    file, changes, note = PARTS[part]
    folder = make_run(tmp_path / "run", short(**changes))
    if file:
        (folder / file).unlink()
    text = Reader(write_report(folder).read_text(encoding="utf-8")).text
    assert note in text
    assert sum(other in text for _, _, other in PARTS.values()) == 1


def test_names_in_any_script_stand_on_the_page_without_a_warning(tmp_path: Path, recwarn: Any) -> None:
    folder, arrays = make_run(tmp_path / "run"), sample_arrays()
    names = ["猫", "犬", "زهرة", "цветок", *(f"花{number}" for number in range(6))]
    np.savez(folder / "samples.npz", **{**arrays, "classes": np.array(names)})
    text = Reader(write_report(folder).read_text(encoding="utf-8")).text
    assert all(name in text for name in names)
    assert not [str(warning.message) for warning in recwarn]


def test_the_page_of_a_plain_training_says_trained_and_why_there_is_no_baseline(tmp_path: Path) -> None:
    changes: dict[str, Any] = {"teacher": None, "baseline": None, "agreement": None}
    result = short(**changes, baseline_missing="the recipe names none, and <b> is none", claim=97.94)
    result["student"]["training"] = "trained"
    folder, arrays = make_run(tmp_path / "run", result), sample_arrays()
    np.savez(folder / "samples.npz", **{key: arrays[key] for key in arrays.keys() - {"teacher", "baseline"}})
    text = Reader(write_report(folder).read_text(encoding="utf-8")).text
    for part in (
        "trained 96.33 %",
        "trained 96.33 99.70 0.1234 2.34",
        "This run has no teacher and no baseline. No baseline: the recipe names none, and <b> is none.",
        "published 97.94 % (nothing shows that it is of these validation images)",
    ):
        assert part in text
    for word in ("The baseline is", "distilled", " gain "):
        assert word not in text


def test_a_claim_of_the_images_that_were_evaluated_is_shown_without_a_doubt(tmp_path: Path) -> None:
    result = short(claim=97.94, images={"val": 50_000, "imagenet": True})
    text = Reader(write_report(make_run(tmp_path / "run", result)).read_text(encoding="utf-8")).text
    assert ", published 97.94 % ·" in text


def test_published_numbers_of_the_headline_are_called_so(tmp_path: Path) -> None:
    result = short()
    result["teacher"]["source"] = result["baseline"]["source"] = "a paper"
    del result["plan"]["baseline"]
    text = Reader(write_report(make_run(tmp_path / "run", result)).read_text(encoding="utf-8")).text
    assert "teacher 96.83 % ResNet18_vd, published baseline 91.17 % the same network, published" in text
    measured = Reader(write_report(make_run(tmp_path / "other", short())).read_text(encoding="utf-8")).text
    assert "teacher 96.83 % ResNet18_vd baseline 91.17 % the same network, stage baseline distilled" in measured


def test_calibration_and_classes_stand_beside_top1(page: str) -> None:
    text = Reader(page).text
    for part in (
        "teacher 96.83 99.90 0.2345 3.45",
        "distilled 96.33 99.70 0.1234 2.34",
        "the teacher's among the student's first five for 99.83 %",
        "digit 8 85.0 % of 60 right; taken for digit 3 (5), digit 9 (3), digit 0 (1)",
        "Mean confidence 93.9 %, accuracy 91.9 %: overconfident.",
    ):
        assert part in text


def test_the_worst_classes_show_what_was_said_of_their_images_most_confident_first(tmp_path: Path) -> None:
    folder, arrays = make_run(tmp_path / "run", short()), sample_arrays()
    arrays["label"][:6] = 8
    arrays["student"][:6] = 0.001
    for index, share in enumerate((0.5, 0.7, 0.6, 0.8, 0.55, 0.9)):
        arrays["student"][index, 3 if index else 8] = share  # the student is right on the first image
    arrays["label"][6:][arrays["label"][6:] == 8] = 0
    np.savez(folder / "samples.npz", **arrays)
    text = Reader(write_report(folder).read_text(encoding="utf-8")).text
    shown = text[text.index("digit 8 85.0") : text.index("digit 1 95.0")]
    assert re.findall(r"digit 3 (\d+)", shown) == ["90", "80", "70", "60"]


def test_a_result_that_is_older_than_these_numbers_says_so_and_keeps_the_rest(tmp_path: Path) -> None:
    result = short()
    for key in ("nll", "ece", "reliability", "per_class", "worst"):
        del result[key]
    del result["agreement"]["top5"]
    result["teacher"] = {key: value for key, value in result["teacher"].items() if key not in ("top5", "nll", "ece")}
    page = write_report(make_run(tmp_path / "run", result)).read_text(encoding="utf-8")
    text = Reader(page).text
    assert "Not measured: this result is older than these numbers." in text
    assert "The same class for 97.17 % of the images; mean KL" in text
    assert "Worst classes" not in text
    assert "Reliability diagram" not in page


def test_stages_taken_over_from_another_run_have_no_curves_but_a_note(tmp_path: Path) -> None:
    result = make_result()
    folder = make_run(
        tmp_path / "run", {**result, "stages": {name: result["stages"][name] for name in ("teach", "distill")}}
    )
    lines = [json.dumps(record) for record in metrics() if record["stage"] == "distill"]
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    text = write_report(folder).read_text(encoding="utf-8")
    assert "No curves of teach: this run" in text
    assert text.count('aria-label="Training loss and accuracy over steps"') == 1


def test_a_smoke_run_says_that_its_numbers_mean_nothing(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", short(scope="smoke"))
    assert "its numbers mean nothing" in write_report(folder).read_text(encoding="utf-8")


def test_a_run_of_one_step_that_got_nothing_right_has_a_page(tmp_path: Path) -> None:
    result = short(top1=0.0, baseline=0.0)
    counts = dict.fromkeys(("both_right", "only_student", "only_teacher", "both_wrong"), 0)
    result["agreement"] = {"top1": 0.0, "kl": None, **counts, "per_class": [None] * 10}
    result["per_class"] = {"images": [0] * 10, "top1": [None] * 10}
    folder = make_run(tmp_path / "run", result)
    about = {"stage": "distill", "step": 1, "epoch": 0.5, "loss": 0.0}
    lines = [json.dumps({"kind": "train", **about}), json.dumps({"kind": "eval", **about, "top1": 0.0})]
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    np.savez(folder / "samples.npz", **sample_arrays(count=1))
    assert Reader(write_report(folder).read_text(encoding="utf-8")).open == []


def test_a_long_run_of_many_classes_still_makes_a_small_page(tmp_path: Path) -> None:
    result = short()
    result["agreement"]["per_class"] = [None, *np.linspace(50, 100, 999)]
    result["per_class"] = {"images": [50] * 1000, "top1": [None, *np.linspace(50, 100, 999)]}
    folder = make_run(tmp_path / "run", result)
    lines = [
        json.dumps({"kind": "train", "stage": "distill", "step": step, "loss": 1 / step}) for step in range(1, 50_001)
    ]
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    np.savez(folder / "samples.npz", **sample_arrays(classes=1000, size=224))
    file = write_report(folder)
    assert file.stat().st_size < 1_500_000
    assert file.read_text(encoding="utf-8").count("The lowest 20 of 1000 classes.") == 2


def test_an_unfinished_run_has_no_report(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    (folder / "result.json").unlink()
    with pytest.raises(RunError, match="not finished"):
        write_report(folder)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("result.json", "{", r"result\.json: damaged \(no JSON"),
        ("metrics.jsonl", '{"kind": "eval"\n', "line 1"),
        ("bench.csv", "network,batch\nstudent,many\n", r"bench\.csv: damaged \(no column engine\)"),
        ("samples.npz", "no archive", r"samples\.npz: damaged"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, file: str, text: str, message: str) -> None:
    folder = make_run(tmp_path / "run")
    (folder / file).write_text(text)
    with pytest.raises(RunError, match=message) as caught:
        write_report(folder)
    assert "\n" not in str(caught.value)


def test_samples_show_first_what_distillation_mended() -> None:
    arrays = sample_arrays(count=64)
    chosen = samples.choose(arrays)
    answers = {name: arrays[name].argmax(1) for name in samples.NETWORKS}
    label = arrays["label"]
    mended = [index for index in range(64) if answers["student"][index] == label[index] != answers["baseline"][index]]
    assert len(chosen) == len(set(chosen)) == samples.SHOWN
    assert set(chosen[:6]) <= set(mended)
    differ = [index for index in range(64) if answers["student"][index] != answers["teacher"][index]]
    assert set(differ) & set(chosen)


def test_samples_of_a_student_alone_are_the_least_certain_ones() -> None:
    arrays = {key: value for key, value in sample_arrays(count=64).items() if key not in ("teacher", "baseline")}
    least = np.argsort(arrays["student"].max(1), kind="stable")[: samples.SHOWN]
    assert samples.choose(arrays) == least.tolist()


def test_few_samples_are_all_shown() -> None:
    assert sorted(samples.choose(sample_arrays(count=5))) == [0, 1, 2, 3, 4]
