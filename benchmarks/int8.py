"""What int8 costs, on whole validation lists: post-training quantisation against training in int8.

    python benchmarks/int8.py RUN [RUN ...]     # finished runs of one recipe over seeds, with stages in int8

Of every run the float network that its last stage started from and each stage in int8 leave as files, and these are
asked for the class of every validation image: `float` in float32; `static`, the same network by ONNX Runtime's own
post-training quantisation, which `ssld export --format int8` uses (largest values of 512 training images); and one row
for each stage in int8, with the ranges of its training. Differences are paired by run. Conditions: one thread, opset
17. Ends with one JSON line: mean differences from float in points, by file and engine, and the paired test of the last
stage against `static`.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from ssld.deploy import export_model
from ssld.deploy.engines.registry import ready
from ssld.distill.images import crops, eval_loader
from ssld.distill.networks import trained_network
from ssld.distill.runs import Run, StageRun
from ssld.report.seed_statistics import deviation, p_value, paired_test, spread
from ssld.result import all_images, contract
from ssld.runtime import hardware, start

ENGINES = ("onnxruntime", "openvino")
BATCH = 100
CALIBRATION = 512


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="+", type=Path)
    runs, runtime = parser.parse_args().run, start("cpu")
    rows: dict[tuple[str, str], list[float]] = {}
    for run in runs:
        for key, top1 in accuracies(Run.of_folder(run, runtime)).items():
            rows.setdefault(key, []).append(top1)
            print(f"{run.name}: {key[0]} in {key[1]} {top1:.2f} %", flush=True)
    report(rows, len(runs))


def accuracies(run: Run) -> dict[tuple[str, str], float]:
    """(file, engine) -> top-1 in percent."""
    start = run.last.start
    assert start is not None
    images, labels = all_images(eval_loader(run.last))
    calibration = np.concatenate(crops(start, CALIBRATION))
    found = {}
    with tempfile.TemporaryDirectory(prefix="ssld-int8-") as scratch:
        for name, stage in {"float": start, "static": start, **in_int8(run)}.items():
            network, folder = trained_network(stage), Path(scratch) / name
            about = contract(run.plan, network.arch, stage.digest, stage.settings.data)
            forms = ["onnx"] if name == "float" else ["int8"]
            export_model(network, folder, name=name, contract=about, formats=forms, calibration=calibration)
            for engine in ENGINES:
                ask = ready(engine, precision="fp32" if name == "float" else "int8").load(folder)
                said = [ask(images[at : at + BATCH]).argmax(1) for at in range(0, len(images), BATCH)]
                found[name, engine] = 100 * float((np.concatenate(said) == labels).mean())
    return found


def in_int8(run: Run) -> dict[str, StageRun]:
    return {name: stage for name, stage in run.stages.items() if stage.settings.quantize}


def report(rows: dict[tuple[str, str], list[float]], runs: int) -> None:
    names = list(dict.fromkeys(name for name, _ in rows))
    told: dict[str, Any] = {"hardware": hardware(), "runs": runs}
    for name, engine in rows:
        top1, apart = spread(rows[name, engine]), differences(rows, name, "float", engine)
        told[f"{name}/{engine}"] = round(float(np.mean(apart)), 3)
        print(f"{name:8} {engine:12} {top1.mean:.2f}{deviation(top1)} %, {np.mean(apart):+.2f} points from float")
    for engine in ENGINES:
        apart = differences(rows, names[-1], "static", engine)
        test = paired_test(rows[names[-1], engine], rows["static", engine])
        told[f"{names[-1]} - static/{engine}"] = [round(float(np.mean(apart)), 3), test and round(test.p, 4)]
        p = f", p = {p_value(test.p)}" if test else ""
        print(f"{names[-1]} over static in {engine}: {np.mean(apart):+.2f} points{p}, over {runs} runs")
    print(json.dumps(told))


def differences(rows: dict[tuple[str, str], list[float]], name: str, other: str, engine: str) -> np.ndarray:
    return np.subtract(rows[name, engine], rows[other, engine])


if __name__ == "__main__":
    main()
