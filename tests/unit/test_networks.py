"""The networks of a plan: what those of one's own are called."""

import dataclasses
import json
from pathlib import Path

import paddle
import pytest
from paddle.static import InputSpec

from ssld.config import code, coverage
from ssld.config.keys import plain
from ssld.distill.networks import build
from ssld.distill.runs import Run
from ssld.distill.trial import check_sizes
from ssld.errors import RecipeError, SsldError
from ssld.losses.recorded import with_recorded
from ssld.plans import load_plan
from ssld.runtime import Runtime
from tests.unit.own_recipe import TREE, write_code
from tests.unit.some_recipe import TREE as SOME
from tests.unit.some_recipe import changed, written


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_code(tmp_path)


def plan_of(tree):
    return load_plan(str(written(Path(), tree)), [])


def called(tree=TREE, role="student"):
    return build(plan_of(tree), role, 16).arch


def test_two_contents_of_a_file_are_two_architectures_and_so_are_two_options():
    first, teacher = called(), called(role="teacher")
    assert first == called()
    name, _, version = first.partition("@")
    assert (name, len(version)) == ("Tiny", 8)
    assert int(version, 16) >= 0
    assert teacher.startswith("Large@")
    others = [called(changed(TREE, "student.options.width", 5)), called(changed(TREE, "student.taps.a", "body"))]
    assert others[0] != first == others[1]  # a tap is another look at the same network
    Path("nets.py").write_text(Path("nets.py").read_text().replace("nn.Dropout(0.1)", "nn.Dropout(0.2)"))
    assert called() not in {first, *others}
    assert called(role="teacher") != teacher


@pytest.mark.parametrize(
    ("arch", "size", "crop", "message"),
    [
        (
            "InceptionV3",
            32,
            32,
            "stage plain: model inception: in_size 32 leaves no pixel to classify; give at",
        ),
        (
            "AlexNet",
            64,
            128,
            "stages.plain.data.eval_size: AlexNet is made for 64 pixels and takes none of 128",
        ),
        ("ResNet18", 8, 16, None),
    ],
)
def test_a_size_that_a_network_does_not_take_is_told_before_the_first_stage(arch, size, crop, message):
    tree = {key: value for key, value in SOME.items() if key not in ("teacher", "baseline")}
    plain_stage = changed(SOME, "stages.plain.data", {"size": size, "eval_size": crop})["stages"]["plain"]
    plan = plan_of({**tree, "student": {"arch": arch}, "stages": {"plain": plain_stage}})
    stages = list(Run.of_plan(plan, Path("run"), Runtime(rank=0, world=1, gpu=None)).stages.values())
    if message is None:
        return check_sizes(stages)
    with pytest.raises(SsldError) as caught:
        check_sizes(stages)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_an_architecture_of_ones_own_does_not_depend_on_where_its_file_lies(tmp_path):
    first = called()
    other = tmp_path / "other"
    other.mkdir()
    write_code(other)
    assert build(load_plan(str(written(other, TREE)), []), "student", 16).arch == first


def test_a_network_that_names_itself_keeps_its_name_before_its_content_and_must_take_one():
    text = Path("nets.py").read_text()
    Path("nets.py").write_text(text.replace("    def forward", '    arch = "small-one"\n\n    def forward', 1))
    assert called().startswith("small-one@")
    named = '    @property\n    def arch(self):\n        return "x"\n\n    def forward'
    Path("nets.py").write_text(text.replace("    def forward", named, 1))
    with pytest.raises(RecipeError, match=r"^nets.py:Tiny: its attribute arch cannot be set; give it another name$"):
        called()


def test_the_plan_of_a_result_is_read_where_its_code_is_not():
    plan = plan_of(TREE)
    tree = json.loads(json.dumps(plain(plan)))
    tree["code"] = dict.fromkeys(tree["code"], "0" * 64)  # of files that this process has not seen
    read = coverage.plan_of({"plan": tree, "recipe": "some", "digest": plan.digest})
    assert plain(read)["stages"] == plain(plan)["stages"]
    assert coverage.changes(read, plan).keys() == {f"code.{file}" for file in plan.code}
    assert list(coverage.changes(read, plan_of(changed(TREE, "stages.distill.loss.gap.share", 0.7))))[-1].endswith(
        "share"
    )


def test_a_recorded_loss_has_the_options_of_every_term_and_hides_no_built_in_one():
    blocks = [
        {"a": {"kind": "own", "weight": 1, "x": 1}, "kl": {"temperature": 2}},
        {"own": {"weight": 2, "y": 3}},
        None,
    ]
    known = with_recorded(blocks)
    assert {field.name for field in dataclasses.fields(known["own"])} == {"x", "y"}
    assert known["kl"].__module__.startswith("ssld.losses")
    assert "a" not in known


def test_a_run_keeps_the_code_that_its_plan_was_read_with_whatever_became_of_the_file(tmp_path):
    plan, text = plan_of(TREE), Path("nets.py").read_text()
    Path("nets.py").write_text("raise ValueError")
    Path("losses.py").unlink()
    code.keep(plan.code, tmp_path / "run")
    assert (tmp_path / "run/code" / plan.code["nets.py"][:16] / "nets.py").read_text() == text
    assert (tmp_path / "run/code" / plan.code["losses.py"][:16] / "losses.py").is_file()


@pytest.mark.parametrize("whole", [True, False], ids=["the copy is whole", "the copy is not there"])
def test_what_a_killed_process_has_left_of_a_copy_is_removed(tmp_path, whole):
    plan = plan_of(TREE)
    code.keep(plan.code, tmp_path / "run")
    copy = tmp_path / "run/code" / plan.code["nets.py"][:16] / "nets.py"
    copy.with_name("nets.py.partial-4194304").write_text("half")
    if not whole:
        copy.unlink()
    code.keep(plan.code, tmp_path / "run")
    assert [path.name for path in copy.parent.iterdir()] == ["nets.py"]


def test_a_file_that_a_loss_imports_from_its_folder_belongs_to_the_loss_and_to_nothing_else(tmp_path):
    Path("losses.py").write_text("from tools import half\n" + Path("losses.py").read_text())
    Path("tools.py").write_text("def half(x):\n    return 0.5 * x\n")
    first = plan_of(TREE)
    Path("tools.py").write_text("def half(x):\n    return 0.4 * x\n")
    second = plan_of(TREE)
    assert [file for file in first.code if first.code[file] != second.code[file]] == ["losses.py"]
    assert first.stage_digest("distill") != second.stage_digest("distill")
    code.keep(second.code, tmp_path / "run")
    kept = tmp_path / "run/code" / second.code["losses.py"][:16] / "tools.py"
    assert kept.read_text() == Path("tools.py").read_text()


def test_a_file_of_the_same_size_and_second_is_loaded_anew_and_leaves_no_compiled_file():
    text = Path("nets.py").read_text()
    for width in (7, 5, 9):
        Path("nets.py").write_text(text.replace("width=8", f"width={width}"))
        assert build(plan_of(changed(TREE, "student.options", {})), "student", 16).classifier.weight.shape[0] == width
    assert not list(Path().glob("__pycache__"))


def test_a_network_is_traced_as_it_was_loaded_whatever_became_of_its_file(tmp_path):
    images = paddle.randn([2, 3, 16, 16])
    text = Path("nets.py").read_text()
    networks = []
    for factor in (2, 3):
        Path("nets.py").write_text(text.replace("self.classifier(", f"self.classifier({factor} * ", 1))
        network = build(plan_of(TREE), "student", 16)
        network.eval()
        networks.append(network)
    Path("nets.py").write_text("# nothing is left of it\n" * 40)
    for number, network in enumerate(networks):
        traced = paddle.jit.to_static(network, input_spec=[InputSpec([2, 3, 16, 16])], full_graph=True)
        paddle.jit.save(traced, str(tmp_path / f"m{number}"))
        logits = paddle.jit.load(str(tmp_path / f"m{number}"))(images)
        wanted = network.classifier((2 + number) * network.body(images).mean([2, 3]))
        assert float((logits - wanted).abs().max()) < 1e-5
