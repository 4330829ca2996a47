"""These tests ask whether text from outside can control a terminal, or hide in a page, whatever stands in it."""

import io
import json
import unicodedata
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ssld import cli, progress
from ssld.config.run_folder import read_result, write_plan
from ssld.errors import DataError
from ssld.report import closing_table, speed_page, trials, write_report
from ssld.spec.printable import in_code, in_markdown, in_markup, printable, printable_lines
from tests.unit.fake_run import bench_row, make_run, sample_arrays, short

HOSTILE = "\x1b]0;owned\x07\x1b[2J\u202eevil\u2066\x9b31m\r\x08\x7f\u2028\udc80<b>|é\u200d"
SHOWN = "\\x1b]0;owned\\x07\\x1b[2J\\u202eevil\\u2066\\x9b31m\\r\\x08\\x7f\\u2028\\udc80<b>|é\u200d"


def harmful(text: str) -> set[str]:
    """The characters of a text that no terminal and no page may get. (Line breaks are those of the program.)"""
    turns = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    return {
        c
        for c in text
        if (unicodedata.category(c) in ("Cc", "Cs") and c != "\n") or unicodedata.bidirectional(c) in turns
    }


def test_what_cannot_be_printed_is_escaped_and_nothing_else() -> None:
    assert printable(HOSTILE) == SHOWN
    assert printable("Größe 大小 حجم 👩\u200d🔬 a\\b") == "Größe 大小 حجم 👩\u200d🔬 a\\b"
    assert (printable("a\nb\tc"), printable_lines("a\nb\tc")) == ("a\\nb\\tc", "a\nb\\tc")
    assert in_markup("<\x1b'\">") == "&lt;\\x1b&#x27;&quot;&gt;"
    assert in_markdown("a|<b>\n#") == "a\\|&lt;b>\\n#"
    assert in_code("`rm` <b>\n") == "\\x60rm\\x60 <b>\\n"


def test_of_all_characters_none_that_is_harmful_is_left() -> None:
    every = "".join(map(chr, range(0x110000)))
    assert harmful(printable(every)) == set()
    assert len(harmful(every)) == 64 + 2048 + 9  # control characters less the line break, surrogates, directions


def test_whatever_prints_escapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        progress.note(f"left out: {HOSTILE}")
        with progress.progress(3, HOSTILE):
            pass
        progress.table([{"network": HOSTILE}], HOSTILE)
        closing_table(short(title=HOSTILE, baseline=None, baseline_missing=HOSTILE))
        cli._print_rows([{"teacher": HOSTILE, "top1": 1.0}])
        cli._print_facts({HOSTILE: HOSTILE})
        cli._print_json({HOSTILE: HOSTILE})
        cli.FOR_A_PERSON["show"](type("Facts", (), {"text": f"title: {HOSTILE}\nname: x"}))
    assert harmful(out.getvalue()) == harmful(err.getvalue()) == set()
    assert out.getvalue().count(SHOWN) == 8
    assert err.getvalue().count(SHOWN) == 3


def test_an_error_escapes_names_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(**_: object) -> None:
        raise DataError(f"{HOSTILE}: cannot be read; mend it")

    monkeypatch.setattr(cli, "function", lambda command: failing)
    with pytest.raises(SystemExit) as ended:
        cli.main(["list", "students"])
    assert ended.value.code == f"ssld list: {SHOWN}: cannot be read; mend it"


@pytest.mark.parametrize(
    ("length", "shown"), [(999, "x" * 999), (1000, "x" * 200 + "..."), (50_000, "x" * 200 + "...")]
)
def test_a_word_of_an_error_that_nobody_reads_to_its_end_is_cut(
    length: int, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(**_: object) -> None:
        raise DataError(f"a {'x' * length}: no such file; check it")

    monkeypatch.setattr(cli, "function", lambda command: failing)
    with pytest.raises(SystemExit) as ended:
        cli.main(["list", "students"])
    assert ended.value.code == f"ssld list: a {shown}: no such file; check it"


def test_want_of_memory_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(**_: object) -> None:
        raise MemoryError("\n--- C++ Traceback\nResourceExhaustedError")

    monkeypatch.setattr(cli, "function", lambda command: failing)
    with pytest.raises(SystemExit) as ended:
        cli.main(["list", "students"])
    assert ended.value.code == "ssld list: the system: not enough memory; mend that and repeat"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of which every text that others wrote is hostile."""
    result = short(recipe=HOSTILE, title=HOSTILE, baseline=None, baseline_missing=HOSTILE, hardware=HOSTILE)
    result["stages"] = {HOSTILE: result["stages"]["distill"]}
    result["worst"][0] |= {"mistakes": [[3, 5]]}
    folder = make_run(tmp_path_factory.mktemp("runs") / "a", result)
    line = {"kind": "eval", "stage": HOSTILE, "step": 1, "epoch": 1.0, "top1": 50.0, "loss": 1.0}
    lines = [json.dumps(line | {"step": step}) + "\n" for step in (1, 2)]
    (folder / "metrics.jsonl").write_text("".join(lines), encoding="utf-8")
    arrays = sample_arrays()
    arrays["classes"] = np.array([HOSTILE.replace("\udc80", "")] * 10)
    np.savez(folder / "samples.npz", **arrays)
    return folder


def test_the_page_of_a_run_escapes(run: Path) -> None:
    write_plan(run, read_result(run)["digest"], "name: x\n# \u202ecomment\n")  # YAML holds no control characters
    page = write_report(run).read_text(encoding="utf-8")
    assert harmful(page) == set()
    assert page.count("\\u202eevil") > 10


def test_the_pages_of_speeds_and_of_trials_escape(run: Path, tmp_path: Path) -> None:
    rows = [bench_row("student", "onnxruntime", 1.0, 1), bench_row("teacher", "onnxruntime", 2.0, 1)]
    machine: dict[str, Any] = {"machine": {"device": HOSTILE}, "rows": rows}
    (tmp_path / "b.json").write_text(json.dumps(machine), encoding="utf-8")
    with redirect_stderr(io.StringIO()):
        written = speed_page.write_speed([run], [tmp_path / "b.json"], tmp_path / "speed")
    about: dict[str, Any] = {"name": HOSTILE, "recipe": HOSTILE, "method": "grid", "metric": "top1", "goal": "maximize"}
    about |= {"scope": "full", "trials": 1, "command": HOSTILE, "hardware": ["x"]}
    row = {"trial": 1, "student.arch": HOSTILE, "top1": 1.0, "gain": None, "state": "finished", "digest": "0"}
    about = {key: value.replace("\udc80", "") if isinstance(value, str) else value for key, value in about.items()}
    row["student.arch"] = HOSTILE.replace("\udc80", "")
    page = trials.write_trials([row], tmp_path / "trials.md", about)
    for file in [*map(Path, written.values()), page]:
        text = file.read_text(encoding="utf-8")
        assert harmful(text) == set(), file
        assert "\\u202eevil" in text, file
        assert file.suffix != ".md" or "&lt;b>\\|é" in text, file
