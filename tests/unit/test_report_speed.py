"""These tests ask which rows of teacher and student belong together.

They also check gain and accuracy of each, and the files.
"""

import base64
import csv
import json
import re
import xml.etree.ElementTree as ET

import pytest

from ssld.cli import main
from ssld.deploy.engines.registry import ENGINES
from ssld.errors import RunError
from ssld.report import speed, write_speed
from ssld.report.run_files import bench_file
from ssld.report.speed import CONVERTS, READS, Gain, gains
from tests.unit.fake_run import LATENCY, make_result, make_run

TOP1 = {"onnx": 96.1, "fp16": 95.9, "int8": 95.5, "paddle2_int8": 94.0}
GATE = {"images": 2000, "formats": {name: {"top1": top1} for name, top1 in TOP1.items()}}


@pytest.fixture
def run(tmp_path):
    folder = make_run(tmp_path / "quickstart-1")
    (folder / "export").mkdir()
    (folder / "export" / "contract.json").write_text(json.dumps({"gate": GATE}))
    return folder


def row(network, ms, engine="onnxruntime", precision="fp32", speedup=(None, None, None), **changes):
    about = {"network": network, "engine": engine, "precision": precision, "batch": 1, "size": 40, "threads": 1}
    cost = {"repeats": 500, "p50_ms": ms, "images_per_second": 1000 / ms, "model_bytes": 1_000_000, "span": "model"}
    return {**about, **cost, **dict(zip(("speedup", "speedup_low", "speedup_high"), speedup, strict=True)), **changes}


def bench(tmp_path, *rows, name="more.json", **machine):
    (tmp_path / name).write_text(json.dumps({"machine": {"device": "A desk", "gpu": [], **machine}, "rows": rows}))
    return tmp_path / name


def only(all_gains):
    (gain,) = all_gains
    return gain


def of_file(run, file, **values):
    """Return the gains of one file's rows whose student's row has all these values."""
    all_gains, _ = gains([run], [file])
    gains_of_file = [gain for gain in all_gains if gain.bench.file == file]
    return [gain for gain in gains_of_file if all(gain.student[key] == value for key, value in values.items())]


def test_every_row_of_the_student_stands_beside_the_teachers_of_its_engine_and_batch(run):
    all_gains, others = gains([run], [])
    assert others == []
    assert len(all_gains) == 6
    assert {gain.bench.device for gain in all_gains} == {"A processor with a name, 2 cores"}
    for gain in all_gains:
        engine = gain.student["engine"]
        assert (gain.teacher["network"], gain.teacher["engine"]) == ("teacher", engine)
        assert gain.teacher["batch"] == gain.student["batch"]
        assert gain.ratio == pytest.approx(LATENCY["teacher", engine] / LATENCY["student", engine], rel=1e-3)
        assert (gain.low, gain.high) == (None, None)


@pytest.mark.parametrize(
    ("teacher", "student", "expected"),
    [
        ((1.0, 1.0, 1.0), (4.0, 3.5, 4.5), (4.0, 3.5, 4.5)),
        ((0.25, 0.2, 0.5), (1.0, 1.0, 1.0), (4.0, 2.0, 5.0)),
        ((1.0, None, None), (4.0, None, None), (5.0, None, None)),
        ((2.0, 1.9, 2.1), (8.0, 7.0, 9.0), (5.0, None, None)),
    ],
    ids=["teacher first", "student first", "too few rounds", "another row first"],
)
def test_the_interval_stands_where_the_bench_measured_one_against_the_other(run, tmp_path, teacher, student, expected):
    file = bench(tmp_path, row("student", 1.0, speedup=student), row("teacher", 5.0, speedup=teacher))
    gain = only(of_file(run, file))
    assert (gain.ratio, gain.low, gain.high) == pytest.approx(expected) if None not in expected else expected


def test_rows_that_were_not_measured_in_turns_have_no_interval(run, tmp_path):
    """Two networks, each the first of its own bench, are in one file.

    The student's int8 is compared with its own fp32.
    """
    ones = (1.0, 1.0, 1.0)
    int8 = row("student", 1.0, precision="int8", speedup=(3.0, 2.9, 3.1))
    file = bench(tmp_path, row("student", 3.0, speedup=ones), int8, row("teacher", 6.0, speedup=ones))
    all_gains = of_file(run, file)
    assert [(gain.ratio, gain.low) for gain in all_gains] == [(2.0, None), (6.0, None)]


def test_a_teacher_of_another_file_serves_where_the_machine_is_the_same_and_has_no_interval(run, tmp_path):
    ones = (1.0, 1.0, 1.0)
    files = [
        bench(
            tmp_path,
            row("student", 2.0, "openvino", speedup=ones),
            row("student", 1.0, "openvino", "int8", (2.0, 1.9, 2.1)),
            name="int8.json",
        ),
        bench(tmp_path, row("teacher", 4.0, "openvino", speedup=ones), name="fp32.json"),
        bench(tmp_path, row("teacher", 9.0, "openvino"), name="other.json", device="Another desk"),
    ]
    all_gains, _ = gains([run], files)
    gain = only([gain for gain in all_gains if gain.student["precision"] == "int8"])
    assert (gain.ratio, gain.low, gain.apart.file) == (4.0, None, files[1])
    write_speed([run], files, tmp_path / "out")
    assert "| teacher in fp32; teacher of fp32.json; top-1 on" in (tmp_path / "out" / "speed.md").read_text()


def test_other_spans_threads_sizes_and_files_are_not_mixed(run, tmp_path):
    other = [row("teacher", 5.0, threads=2), row("teacher", 6.0, span="end-to-end"), row("teacher", 7.0, batch=8)]
    assert only(of_file(run, bench(tmp_path, row("student", 1.0), *other))).teacher is None
    sizes = [row("teacher", 5.0, size=32), row("teacher", 6.0, size=64)]
    assert only(of_file(run, bench(tmp_path, row("student", 1.0), *sizes))).teacher is None
    assert only(of_file(run, bench(tmp_path, row("student", 1.0, size=64), *sizes))).ratio == 6.0
    assert only(of_file(run, bench(tmp_path, row("student", 1.0), row("teacher", 5.0, size=32)))).ratio == 5.0


def test_an_int8_student_has_the_accuracy_of_its_own_file_and_the_fp32_teacher_beside_it(run, tmp_path):
    rows = [row("student", 1.0, precision="int8"), row("student", 2.0, "onednn", "int8")]
    rows += [row("student", 3.0, "paddle_gpu", "fp16"), row("student", 4.0, "onnxruntime_cuda", "fp16")]
    file = bench(tmp_path, *rows, row("teacher", 8.0))
    shown = {gain.student["engine"]: gain for gain in of_file(run, file)}
    top1 = {name: g.run.top1("student", name, g.student["precision"]) for name, g in shown.items()}
    assert top1 == {"onnxruntime": 95.5, "onednn": 94.0, "paddle_gpu": None, "onnxruntime_cuda": 95.9}
    assert (shown["onnxruntime"].ratio, shown["onednn"].teacher) == (8.0, None)
    text = (tmp_path / "out" / "speed.md").read_text() if write_speed([run], [file], tmp_path / "out") else ""
    (line,) = [line for line in text.splitlines() if line.startswith("| onnxruntime | int8")]
    assert "| 8.00 x |" in line
    assert "| 96.83 → 95.50 | -1.33 | teacher in fp32; top-1 on the gate's 2000 images |" in line


def test_the_formats_that_engines_read_are_those_that_the_gate_is_asked_for():
    for name in ENGINES.names():
        for precision, form in ENGINES.get(name).reads.items():
            if precision == "fp32":
                continue
            if form in ("paddle", "paddle2", "onnx"):
                assert name in CONVERTS, name
            else:
                assert READS.get((name, precision), precision) == form, name


def test_networks_are_recognised_by_their_run_and_others_are_named(run, tmp_path, capsys):
    names = ["quickstart-1", "runs/quickstart-1/export", "quickstart-1/teacher_export", "teacher_export", "ResNet50"]
    file = bench(tmp_path, *(row(name, 1.0, engine=name) for name in names))
    all_gains, others = gains([run], [file])
    assert {gain.student["network"] for gain in all_gains if gain.bench.file == file} == set(names[:2])
    assert others == ["ResNet50"]
    write_speed([run], [file], tmp_path / "out")
    assert capsys.readouterr().err == "report: left out, of no run that is given: ResNet50\n"


def test_of_several_runs_a_name_without_a_run_is_nobodys(run, tmp_path):
    second = make_run(tmp_path / "quickstart-2", make_result(seed=1))
    file = bench(tmp_path, row("quickstart-1", 1.0), row("quickstart-2/export", 2.0), row("teacher_export", 4.0))
    all_gains, others = gains([run, second], [file])
    gains_of_file = [gain for gain in all_gains if gain.bench.file == file]
    assert [(gain.run.name, gain.student["p50_ms"], gain.teacher) for gain in gains_of_file] == [
        ("quickstart-1", 1.0, None),
        ("quickstart-2", 2.0, None),
    ]
    assert others == ["teacher_export"]


def test_a_csv_file_says_what_its_json_says(tmp_path):
    rows = [row("student", 1.5, speedup=(1.0, 0.9, 1.1)), row("teacher", 3.0)]
    file = bench(tmp_path, *rows, gpu=[{"name": "A card"}])
    with (tmp_path / "more.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    both = [bench_file(tmp_path / "more.csv"), bench_file(file)]
    assert both[0].rows == both[1].rows == rows
    assert {bench.device for bench in both} == {"A desk, A card"}
    file.unlink()
    assert bench_file(tmp_path / "more.csv").device == "a machine that more.csv does not name"


def test_the_files_show_every_row_and_load_nothing(run, tmp_path):
    paths = write_speed(
        [run], [bench(tmp_path, row("student", 1.0, steady=False), row("teacher", 4.0))], tmp_path / "out"
    )
    page, text, drawn = ((tmp_path / "out" / f"speed.{kind}").read_text() for kind in ("html", "md", "svg"))
    assert paths == {kind: str(tmp_path / "out" / f"speed.{kind}") for kind in ("html", "md", "svg")}
    assert page.count("<tr>") == 7 + 2  # these are rows and headings
    assert len(re.findall(r"^\| (?:paddle|onednn|onnxruntime) \|", text, flags=re.MULTILINE)) == 7
    assert page.count("not steady") == text.count("not steady") == 1
    assert "on A desk (more.json)" in text
    (picture,) = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', page)
    assert base64.b64decode(picture).decode() == drawn
    assert not re.search(r"https?:|<script|<link", page)
    titles = [title.text for title in ET.fromstring(drawn).iter("{http://www.w3.org/2000/svg}title")]
    assert "student, onnxruntime fp32: 96.33 %, 0.31" in titles
    assert len(titles) == 6 + 2  # each panel has the smallest batch of its machine


def test_a_smoke_run_says_that_its_numbers_mean_nothing(tmp_path):
    write_speed([make_run(tmp_path / "smoke", make_result(scope="smoke"))], [], tmp_path / "out")
    for kind in ("html", "md"):
        assert "its numbers mean nothing" in (tmp_path / "out" / f"speed.{kind}").read_text()


def test_without_a_teacher_there_is_a_table_and_no_gain(tmp_path):
    run = make_run(tmp_path / "alone", make_result(teacher=None))
    file = bench(tmp_path, row("alone", 1.0))
    (run / "bench.csv").unlink()
    all_gains, _ = gains([run], [file])
    assert only(all_gains) == Gain(only(all_gains).run, only(all_gains).bench, row("alone", 1.0), None)
    write_speed([run], [file], tmp_path / "out")
    text = (tmp_path / "out" / "speed.md").read_text()
    assert "| - → 1.000 | - | - → 1,000 |" in text
    assert "| no row of the teacher |" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["speed", "nowhere"], "nowhere: no such folder; give the folder of a finished run"),
        (["speed", "empty"], "empty: this run is not finished (no result.json); repeat its `ssld run` command"),
        (["speed", "other"], "other/result.json: damaged (holds no mapping); repeat the `ssld run` command"),
        (["speed", "bare"], "bare: no row of a student in a bench.csv or a given file; `ssld bench bare "),
        (["speed", "run", "--csv", "none.csv"], "none.csv: no such file; give one that `ssld bench --csv` wrote"),
        (["speed", "run", "--csv", "text.csv"], "text.csv: is no bench file; give one that `ssld bench --csv` wrote"),
        (["speed", "run", "--csv", "none/bench.csv"], "none/bench.csv: is no bench file; give one that"),
        (["speed", "run", "--csv", "bytes.csv"], "bytes.csv: is no bench file; give one that"),
        (["speed", "run", "--csv", "run/result.json"], "run/result.json: is no bench file; give one that"),
        (["speed", "run", "--csv", "list.json"], "list.json: is no bench file; give one that"),
        (["speed", "run", "--out", "text.csv"], "text.csv: cannot be written (File exists); choose another --out"),
        (["figures", "--csv", "text.csv"], "text.csv: is no bench file; give one that"),
        (["figures", "--out", "text.csv"], "text.csv: cannot be written (File exists); choose another --out"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_line(words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "run")
    (make_run(tmp_path / "bare") / "bench.csv").unlink()
    (tmp_path / "empty").mkdir()
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "bench.csv").write_text((tmp_path / "run" / "bench.csv").read_text().splitlines()[0])
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "result.json").write_text('["no result"]')
    (tmp_path / "text.csv").write_text("name,age\nAnn,7\n")
    (tmp_path / "bytes.csv").write_bytes(b"\x80\x00\xff\n" * 9)
    (tmp_path / "list.json").write_text('{"rows": [1, 2]}')
    with pytest.raises(SystemExit) as ended:
        main(["report", *words])
    assert str(ended.value.code).startswith(f"ssld report: {message}")
    assert "\n" not in str(ended.value.code)


@pytest.mark.parametrize("words", [["speed"], ["figures", "x"], ["run", "other"], ["run", "--csv", "x.csv"]])
def test_a_wrong_command_line_is_told_what_there_is(words, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["report", *words])
    assert ended.value.code == 2
    pages = "`speed RUN ...`, `figures`, `ledger`, `ablation`, `methods`"
    assert capsys.readouterr().err == f"ssld: report: give one RUN alone, or one of {pages}\n"


def test_a_damaged_contract_is_named(run):
    (run / "export" / "contract.json").write_text("{")
    with pytest.raises(RunError, match=r"export/contract\.json: damaged \(no JSON.*; `ssld export` of this run"):
        speed.read_run(run)
