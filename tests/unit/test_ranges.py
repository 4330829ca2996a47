"""Every key of a recipe, sweep or card and every option has its range in its type, and a wrong value is one line.

The tests walk the types: a key without a range fails, and a new key fails until it is said here which of the wrong
values it allows.
"""

import copy
import dataclasses
import math
import re
import types
import typing
from collections.abc import Callable
from typing import Annotated, Any

import pytest

from ssld import arguments, cli
from ssld.config import cards, recipe, sweep
from ssld.config.foreign import AccuracyCheck, InputSpec, NetworkSpec
from ssld.errors import RecipeError, SsldError
from ssld.losses import Loss, build_terms
from ssld.losses.registry import built_in
from ssld.losses.schedule import Schedule
from ssld.spec import ranges
from ssld.spec.ranges import OF_LIST, Rule
from tests.unit.some_recipe import TREE, changed, written

WRONG = {
    "0": 0, "-1": -1, "1e9": 1e9, "1.5": 1.5, "nan": math.nan, "inf": math.inf, "no text": "", "no list": [],
    "true": True, "text": "ten", "a mapping": {"no": "sense"},
}  # fmt: skip

INT8 = {"init": "finetune", "epochs": 1, "loss": {"ssld": {}}, "quantize": {}}
WHOLE = changed(TREE, "stages.distill.labels", {"k": 5})
WHOLE = changed(WHOLE, "stages.distill.data.train", ["d/train.txt"])
WHOLE = changed(WHOLE, "teacher.norm", "running")
WHOLE = changed(WHOLE, "prepare", {"mined": {"sources": ["pool"], "teacher": "a", "against": "val.txt", "k": 4}})
IN_INT8 = changed(changed(TREE, "export", {"formats": ["int8"]}), "stages.qad", INT8)
FOREIGN = {"onnx": "m.onnx", "gives": "logits", "input": {"size": 8, "mean": [0, 0, 0], "std": [1, 1, 1]}}
OF_ONNX = {key: value for key, value in changed(TREE, "teacher", FOREIGN).items() if key != "baseline"}
OF_ONNX["stages"] = {"distill": TREE["stages"]["distill"]}

WITH_A_HEAD = changed(TREE, "student.head", {"kind": "teacher"})
BLOCKS = {  # block -> its class, a recipe that has it, and where
    "Plan": (recipe.Plan, TREE, ""),
    "Mine": (recipe.Mine, WHOLE, "prepare.mined."),
    "Network": (recipe.Network, TREE, "student."),
    "Head": (recipe.Head, WITH_A_HEAD, "student.head."),
    "Teacher": (recipe.Teacher, OF_ONNX, "teacher."),
    "InputSpec": (InputSpec, OF_ONNX, "teacher.input."),
    "Combine": (recipe.Combine, OF_ONNX, "stages.distill.combine."),
    "Labels": (recipe.Labels, WHOLE, "stages.distill.labels."),
    "Stage": (recipe.Stage, {key: value for key, value in TREE.items() if key != "baseline"}, "stages.plain."),
    "Quantize": (recipe.Quantize, IN_INT8, "stages.qad.quantize."),
    "Data": (recipe.Data, TREE, "stages.plain.data."),
    "Augment": (recipe.Augment, TREE, "stages.plain.data.augment."),
    "Optim": (recipe.Optim, TREE, "stages.plain.optim."),
    "Export": (recipe.Export, TREE, "export."),
    "Bench": (recipe.Bench, TREE, "bench."),
    "Smoke": (recipe.Smoke, TREE, "smoke."),
}
ALLOWED = {  # key -> which of WRONG mean something there; every other one is refused, of every other key each
    "Plan.name": {"text"}, "Plan.title": {"no text", "text"}, "Plan.claim": {"0", "1.5"}, "Plan.seed": {"0", "1e9"},
    "Plan.code": {"no list"}, "Plan.dataset": {"no list", "text"},
    "Mine.teacher": {"text"}, "Mine.against": {"text"}, "Mine.weights": {"text"}, "Mine.engine": {"text"},
    "Mine.min_score": {"0"}, "Mine.gate": {"0"},
    "Network.arch": {"text"}, "Network.bn_momentum": {"0"},
    "Teacher.onnx": {"text"}, "Teacher.output": {"text"}, "Teacher.classes_file": {"text"}, "Teacher.gate": {"0"},
    "Teacher.least_top1": {"0", "1.5"}, "Teacher.taps": {"a mapping"},
    "Labels.seed": {"0", "1e9"}, "Labels.folder": {"text"},
    "Stage.epochs": {"1.5"}, "Stage.checkpoint_minutes": {"0", "1.5"}, "Stage.teachers": {"no list"},
    "Stage.sync_bn": {"0", "true"},
    "Quantize.keep": {"0"}, "Quantize.recalibrate": {"0"},
    "Augment.flip": {"0"}, "Augment.ra_magnitude": {"0"}, "Augment.erase": {"0"}, "Augment.mixup": {"0", "1.5"},
    "Augment.cutmix": {"0", "1.5"}, "Augment.pad": {"0"},
    "Optim.lr": {"1.5"}, "Optim.stage_lr": {"no list"}, "Optim.momentum": {"0"}, "Optim.nesterov": {"0", "true"},
    "Optim.rho": {"0"}, "Optim.weight_decay": {"0", "1.5"}, "Optim.decay_all": {"0", "true"},
    "Optim.warmup_epochs": {"0", "1.5"}, "Optim.milestones": {"no list"}, "Optim.decay_epochs": {"0", "1.5"},
    "Optim.clip_norm": {"0", "1.5"}, "Optim.ema": {"0"},
    "Export.formats": {"no list"},
    "Export.preprocess": {"0", "true"}, "Export.softmax": {"0", "true"}, "Export.dynamic_batch": {"0", "true"},
    "Export.gate_top1": {"0", "1.5"}, "Export.gate_top1_fp16": {"0", "1.5"}, "Export.gate_top1_int8": {"0", "1.5"},
    "Export.gate_diff": {"1.5"}, "Export.gate_diff_fp16": {"1.5"}, "Export.gate_diff_int8": {"1.5"},
    "Bench.warmup": {"0"}, "Bench.seconds": {"1.5"}, "Bench.engines": set(),
}  # fmt: skip
FREE = {"Network.options", "Teacher.options"}  # arguments of a class of one's own, which checks them itself


def refusal(load: Callable[[], object], what: object) -> str:
    """The one short line with which a value is refused."""
    try:
        load()
    except SsldError as error:
        line = str(error)
    else:
        pytest.fail(f"{what!r} is taken")
    assert "\n" not in line
    assert len(line) < 400
    return line


def inside(kind: Any) -> list[Any]:
    """What a type holds: of a list its entries, of a mapping its values, of `X | null` X."""
    arguments, inner = typing.get_args(kind), typing.get_origin(kind)
    if inner is Annotated:
        rule = kind.__metadata__[0]
        return [arguments[0]] if isinstance(rule, OF_LIST) or not isinstance(rule, Rule) else []
    if inner in (types.UnionType, typing.Union, tuple):
        return [argument for argument in arguments if argument not in (type(None), ...)]
    return [arguments[1]] if inner is dict else []


def without_a_range(kind: Any) -> list[Any]:
    """The types in a type that take any text or number, or anything; those of loss terms are walked by themselves."""
    if kind in (str, int, float, object, Any):
        return [kind]
    return [] if kind is recipe.Term else [found for part in inside(kind) for found in without_a_range(part)]


def blocks_of(*roots: Any) -> set[Any]:
    """The dataclasses in the types of the fields of dataclasses, with themselves."""
    found, left = set(), list(roots)
    while left:
        kind = left.pop()
        if dataclasses.is_dataclass(kind) and kind is not recipe.Term and kind not in found:
            found.add(kind)
            left += ranges.kinds(kind).values()
        left += inside(kind)
    return found


CONFIG = blocks_of(recipe.Plan, sweep.Sweep, cards.StudentCard, cards.TeacherCard, NetworkSpec, AccuracyCheck, Schedule)
TYPED = [*sorted(CONFIG, key=lambda cls: cls.__name__), *built_in().values()]


@pytest.mark.parametrize("cls", TYPED, ids=lambda cls: cls.__name__)
def test_every_key_has_its_range_in_its_type(cls):
    free = {name for name, kind in ranges.kinds(cls).items() if without_a_range(kind)}
    known = (
        {"options"} if f"{cls.__name__}.options" in FREE else {"value", "values"} if cls is sweep.Parameter else set()
    )
    assert free == known


def test_the_walk_over_the_types_sees_every_block_of_a_recipe():
    assert {cls for cls, _, _ in BLOCKS.values()} == blocks_of(recipe.Plan)


KEYS = [(block, key) for block, (cls, _, _) in BLOCKS.items() for key in ranges.kinds(cls)]


@pytest.mark.parametrize(("block", "key"), KEYS, ids=lambda word: word)
def test_a_wrong_value_of_a_key_is_one_line_or_a_stated_one(block, key):
    _, tree, where = BLOCKS[block]
    recipe.of_mapping(tree)
    allowed = ALLOWED.get(f"{block}.{key}", set())
    for name, value in WRONG.items():
        wrong = changed(tree, f"{where}{key}", value)
        if name in allowed:
            recipe.of_mapping(wrong)
            continue
        line = refusal(lambda wrong=wrong: recipe.of_mapping(wrong), name)
        assert key in line, line


def test_the_stated_keys_exist():
    assert {(*key.split("."),) for key in ALLOWED} <= {*KEYS}


# --- losses

NUMBERS = [
    (name, option)
    for name, cls in built_in().items()
    for option, kind in ranges.kinds(cls).items()
    if ranges.told(kind).startswith(("number", "integer"))
]
MAY_BE_0 = {  # loss -> its options that mean something at 0
    "ce": "smoothing", "bce": "smoothing", "deit": "alpha", "dist": "beta gamma", "dkd": "alpha beta",
    "lskd": "alpha beta", "nkd": "gamma",
    "rld": "alpha beta", "skd_layer_norm": "alpha", "skd_spherical": "alpha", "wkd_l": "gamma", "wsld": "alpha",
    "ca_mkd": "features", "pskd": "share", "tfkd": "alpha multiplier", "uskd": "alpha beta mu", "mgd": "dropped",
    "byot": "alpha features",
    "srrl": "features logits", "vitkd": "mimic generate", "wkd_f": "mean deviation", "itrd": "correlation mutual",
    "rkd": "distance angle", "crd": "momentum", "sskd": "ce kl tf ss contrast keep_tf keep_ss",
}  # fmt: skip


@pytest.mark.parametrize(("name", "option"), NUMBERS)
def test_a_wrong_number_for_an_option_of_a_loss_is_one_line(name, option):
    may_be_0 = option in MAY_BE_0.get(name, "").split()
    wrong = [-1, 1e10, math.nan, math.inf, "", "ten", [], True, {"no": "sense"}, *([] if may_be_0 else [0])]
    for value in wrong:
        line = refusal(lambda value=value: build_terms({name: {option: value}}), value)
        assert re.search(rf"^\.{name}\.{option}: should be an? .*; got ", line), line
    if may_be_0:
        build_terms({name: {option: 0}})


def test_a_loss_that_is_made_in_python_checks_its_options_too():
    @dataclasses.dataclass(frozen=True)
    class Gap(Loss):
        margin: ranges.Positive = 1.0

    for cls, options in (
        (built_in()["kl"], {"temperature": -1.0}),
        (built_in()["at"], {"student": ("",)}),
        (Gap, {"margin": 0}),
    ):
        with pytest.raises(RecipeError, match=r"^(temperature|student\.0|margin): should be "):
            cls(**options)


# --- sweeps and cards

QUANTISED = {"distribution": "q_uniform", "min": 0.1, "max": 2.0, "q": 0.1}
SWEEP = {"name": "s", "recipe": "quickstart", "method": "random", "parameters": {"lr": QUANTISED}}
OF_SWEEP = {  # key -> which of WRONG mean something there
    "name": {"text"}, "recipe": {"text"}, "method": set(), "metric.name": {"text"}, "metric.goal": set(),
    "parameters.lr.value": set(), "parameters.lr.values": set(), "parameters.lr.distribution": set(),
    "parameters.lr.min": {"0", "-1", "1.5"}, "parameters.lr.max": {"1e9", "1.5"}, "parameters.lr.q": {"1e9", "1.5"},
}  # fmt: skip


def test_the_keys_of_a_sweep_are_those_that_are_tried():
    metric, parameter = (ranges.kinds(cls) for cls in (sweep.Metric, sweep.Parameter))
    keys = {
        *ranges.kinds(sweep.Sweep),
        *(f"metric.{key}" for key in metric),
        *(f"parameters.lr.{key}" for key in parameter),
    }
    assert keys - {"metric", "parameters"} == OF_SWEEP.keys()


@pytest.mark.parametrize("key", OF_SWEEP)
def test_a_wrong_value_in_a_sweep_is_one_line_or_a_stated_one(tmp_path, key):
    for name, value in WRONG.items():
        file = str(written(tmp_path, changed(SWEEP, key, value)))
        if name in OF_SWEEP[key]:
            sweep.load(file)
            continue
        assert key.rpartition(".")[0] in refusal(lambda file=file: sweep.load(file), name)


def test_a_sweep_without_an_end_is_refused_before_it_is_spread_out(tmp_path):
    whole = {"min": 0, "max": 10**9}
    with pytest.raises(RecipeError, match=r"parameters\.seed: has 1,000,000,001 values; give at most 1,000,000$"):
        sweep.load(str(written(tmp_path, {**SWEEP, "parameters": {"seed": whole}})))
    many = {"method": "grid", "parameters": {key: {"min": 1, "max": 1000} for key in "abc"}}
    spec = sweep.load(str(written(tmp_path, {**SWEEP, **many})))
    with pytest.raises(RecipeError, match=r"^s: the grid has 1,000,000,000 trials; give --count N, at most 10,000$"):
        sweep.trials(spec, None, 0)
    assert sweep.trials(spec, 2, 0) == [{"a": 1, "b": 1, "c": 1}, {"a": 1, "b": 1, "c": 2}]


INPUT = {"size": 224, "resize": 256, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
INPUT |= {"interpolation": "cubic", "background": [0, 0, 0]}
PRINTED = {
    "source": "a page", "flops_g": 1.0, "params_m": 1.0, "storage_mb": 1.0,
    "latency_ms": {"v100_fp32": 1.0, "t4_fp16": [1.0, 2.0, 3.0], "t4_fp32": [1.0, 2.0, 3.0], "sd855": 1.0},
}  # fmt: skip
CLAIM = {
    "name": "Net", "top1": 70.0, "top5": 90.0, "source": "a page", "revision": "2.x", "params": 1, "macs": 1,
    "train_resolution": 224, "teacher": "T", "recipe": "r.yaml", "weights": {"2.0": "https://x/a"}, "notes": "none",
    "also_at": {288: {"resize": 320, "top1": 71.0, "source": "a page"}}, "input": INPUT, "printed": PRINTED,
}  # fmt: skip
STUDENT = {
    "arch": "Net", "series": "nets", "classes": 10, "params": 1, "macs": 1, "input": INPUT, "train_resolution": 224,
    "notes": "none", "printed": PRINTED, "published": {"plain": CLAIM},
}  # fmt: skip
TEACHER = {
    "arch": "Net", "top1": 70.0, "top5": 90.0, "trained_on": "images", "source": "a page", "params": 1, "macs": 1,
    "weights": {"url": "https://x/a", "path": "a", "sha256": "0" * 64}, "input": INPUT, "notes": "none",
}  # fmt: skip


def flat(tree: dict[Any, Any], path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every leaf of a tree."""
    pairs = [(flat(value, (*path, key)) if isinstance(value, dict) else [(*path, key)]) for key, value in tree.items()]
    return [leaf for leaves in pairs for leaf in leaves]


@pytest.mark.parametrize(("find", "card"), [(cards.find_student, STUDENT), (cards.find_teacher, TEACHER)])
def test_a_wrong_value_in_a_card_is_one_line(tmp_path, find, card):
    find(str(written(tmp_path, card)))
    for *parents, last in flat(card):
        for value in (
            -1,
            1e13,
            math.nan,
            math.inf,
            [],
            True,
            {"no": "sense"},
            "" if last not in ("source", "notes", "trained_on") else 1,
        ):
            tree = copy.deepcopy(card)
            node = tree
            for key in parents:
                node = node[key]
            node[last] = value
            assert re.search(rf"\b{last}\b", refusal(lambda tree=tree: find(str(written(tmp_path, tree))), value))


def test_the_cards_above_have_every_key_of_a_card():
    keys = {key for card in (STUDENT, TEACHER) for path in flat(card) for key in path}
    of_cards = blocks_of(cards.StudentCard, cards.TeacherCard)
    assert {key for cls in of_cards for key in ranges.kinds(cls)} <= keys


# --- the command line

OPTIONS = [
    (command, action)
    for command, parser in arguments.parser()._subparsers._group_actions[0].choices.items()
    for action in parser._actions
    if action.type is not None
]


@pytest.mark.parametrize(("command", "action"), OPTIONS, ids=lambda value: getattr(value, "dest", value))
def test_a_wrong_number_for_an_option_is_one_line_and_exit_code_2(command, action, capsys):
    if action.dest == "wandb_tags":
        return
    words = {"--teacher": "t", "--against": "v", "--out": "o", "--k": "1"} if command == "mine" else {}
    names = [text for pair in words.items() if pair[0] != action.option_strings[0] for text in pair]
    given = {"report": ["x"], "data": ["check", "x"], "bench": ["x"], "weights": ["fetch", "x"]}.get(command, ["x"])
    for value in ("-1", "1e20", "1.5e-400", "nan", "inf", "", "ten", "010", "0x10", "9" * 5000):
        with pytest.raises(SystemExit, match=r"^2$"):
            cli._parse([command, *given, *names, action.option_strings[0], value])
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"ssld: argument {action.option_strings[0]}: ")
        assert len(line) < 300


def test_no_option_reads_a_number_without_a_range():
    assert not [action.dest for _, action in OPTIONS if action.type in (int, float)]
    assert {("bench", "threads"), ("run", "ranks"), ("run", "seeds"), ("plan", "rate"), ("sweep", "count")} <= {
        (command, action.dest) for command, action in OPTIONS
    }
