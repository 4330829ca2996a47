"""Training ends with the bits that it had before: sha256 of the weights of every stage, recorded in data/bits.json.

The bits are those of one kind of processor and one version of Paddle, which the file names; elsewhere the tests are
skipped. What oneDNN computes, such as the teacher's logits on Fashion-MNIST, also follows from the instructions that the
processor has: the code of the same commit was recorded on two, of which one has no AVX-512.

The first steps of the quickstart are tested every day. The whole quickstart, and the first 200 steps of every stage on
Fashion-MNIST, take minutes: `make test-bits`.
"""

import json
from importlib.metadata import version
from pathlib import Path

import pytest

from ssld.files import sha256
from ssld.paths import shelf
from ssld.runtime import hardware
from tests.e2e.command import process

RECORDED = json.loads((Path(__file__).parent / "data" / "bits.json").read_text())
KINDS = ("sha256", "sha256 without AVX-512")
FEW = ("stages.teach.epochs=2", "stages.baseline.epochs=2", "stages.distill.epochs=0.3")
FEW += ("stages.finetune.epochs=2", "stages.fix.epochs=0.3")
# A warm-up of all steps but one, 3 of 4 and 4 of 5.
FEW += ("stages.baseline.optim.warmup_epochs=1.5", "stages.distill.optim.warmup_epochs=0.2222")
STEPS_200 = ("stages.teach.epochs=2.1505", "stages.baseline.epochs=2.1505", "stages.distill.epochs=0.2134")
STEPS_200 += ("stages.finetune.epochs=2.1505", "stages.fix.epochs=0.2134")
QUICK = ("bench.engines=[onnxruntime]", "bench.seconds=0.1")
RUNS = {
    "quickstart, first steps": ("quickstart", FEW),
    "quickstart": ("quickstart", ()),
    "fashion_mnist_ssld, 200 steps": ("fashion_mnist_ssld", STEPS_200),
}
LONG = [pytest.mark.bits, pytest.mark.timeout(3600)]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if "first" in name else LONG, id=name.replace(" ", "-")) for name in RUNS]
)
def test_the_weights_of_every_stage_have_the_bits_that_were_recorded(name, tmp_path):
    machine = {"processor": hardware().rpartition(",")[0], "paddlepaddle": version("paddlepaddle")}
    if machine != RECORDED["made on"]:
        pytest.skip(f"the bits were recorded on {RECORDED['made on']}, this is {machine}")
    recipe, overrides = RUNS[name]
    words = ("run", shelf("recipes") / f"{recipe}.yaml", "--wandb", "disabled", "--out", "run", *overrides, *QUICK)
    done = process(*words, cwd=tmp_path, seconds=3500)
    assert done.returncode == 0, done.stderr
    stages = sorted((tmp_path / "run" / "stages").glob("*/model.safetensors"))
    bits = {file.parent.name.rpartition("-")[0]: sha256(file) for file in stages}
    assert bits in [RECORDED[kind][name] for kind in KINDS if name in RECORDED[kind]]
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    top1 = {"teacher": result["teacher"]["top1"], "baseline": result["baseline"]["top1"], "student": result["top1"]}
    recorded = RECORDED["top1"][name]
    assert {key: round(value, 2) for key, value in top1.items()} == {key: recorded[key] for key in top1}
