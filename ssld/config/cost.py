"""What the parts of a recipe cost, by arithmetic on the plan and the cards. Nothing here is measured.

The one estimate is `gpu_hours`: multiply-adds over a stated share of a stated card's peak. All else is counted.
"""

from pathlib import Path

from ssld.config import cards, recipe
from ssld.config.mine_step import Mine
from ssld.config.recipe import Plan, Stage
from ssld.config.teachers import Teacher
from ssld.errors import RecipeError

PEAK = 15.7e12 / 2  # multiply-adds a second of a V100 (SXM2) in float32, by NVIDIA's data sheet: two operations each
SHARE = 0.5  # of it that a training is thought to reach; an assumption, too high for depthwise convolutions
FORWARDS = {"all": 3, "head_and_norms": 2, "head": 1}  # of a step in forward passes, by what the stage trains
FLOAT = 4  # bytes
NOT_COUNTED = "a network without a card has no arithmetic that is known without making it; `ssld run` counts it"
WEIGHT_BYTES = {"fp16": 2, "paddle2_int8": 1}  # of a weight in an exported file; others hold float32, int8 too
SLOTS = {"momentum": 1, "adamw": 2, "rmsprop": 3, "dot": 2}  # numbers that an optimizer keeps for each weight
CHECKPOINTS = 2  # of a stage, the newest


def gpu_hours(macs: float) -> float:
    """Hours of one V100 for so many multiply-adds, at SHARE of its PEAK: macs / (0.5 x 7.85e12 a second) / 3600.

    An estimate. It knows no input pipeline, no memory traffic, no communication and no evaluation.
    """
    return macs / (SHARE * PEAK) / 3600


def student_macs(plan: Plan, stage: Stage) -> float:
    """Multiply-adds of a training step, an image: a forward pass, and twice that for the gradients of the activations
    and of the weights. A stage that trains less than everything needs fewer, see FORWARDS."""
    return FORWARDS[stage.train] * network_macs(plan, plan.network_of(stage.network).arch, stage.data.size)


def network_macs(plan: Plan, arch: str | None, size: int) -> float:
    """Multiply-adds of one image of `size` pixels: those of the card, in proportion to the pixels.

    RecipeError for a network of one's own, which has no card.
    """
    if arch is None:
        raise RecipeError(f"{plan.name}: {NOT_COUNTED}")
    card = cards.find_student(arch)
    return card.macs * (size / card.input.size) ** 2


def teacher_macs(plan: Plan, teacher: Teacher) -> float:
    """Multiply-adds of a teacher's forward pass, an image at its own size. RecipeError for one without a card."""
    if teacher.card:
        return cards.find_teacher(teacher.card).macs
    if teacher.run:
        other = recipe.of_finished_run(Path(teacher.run))
        return network_macs(other, other.student.arch, other.stages[other.last].data.crop)
    if teacher.stage:
        stage = plan.stages[teacher.stage]
        return network_macs(plan, plan.network_of(stage.network).arch, stage.data.size)
    return network_macs(plan, teacher.arch, teacher.input.size if teacher.input else 0)


def mine_macs(plan: Plan, step: Mine) -> float:
    """Multiply-adds of scoring one image of the pool. RecipeError for a run that trains no teacher."""
    if step.teacher in plan.all_teachers:
        return teacher_macs(plan, plan.all_teachers[step.teacher])
    if not is_run(step.teacher):
        return cards.find_teacher(step.teacher).macs
    other = recipe.of_run(Path(step.teacher))
    stages = [teacher.stage for teacher in other.all_teachers.values() if teacher.stage]
    if not stages:
        raise RecipeError(f"teacher {step.teacher}: this run trains no teacher; give another run, or a card")
    stage = other.stages[stages[0]]
    return network_macs(other, other.network_of(stage.network).arch, stage.data.crop)


def is_run(teacher: str) -> bool:
    """Whether the teacher of a mining is the folder of a run; else it is the name of a card."""
    return (Path(teacher) / "plan.yaml").is_file()


def taught_macs(plan: Plan, stage: Stage) -> float:
    """Multiply-adds of the forward pass that labels an image of a stage; 0 where no loss learns from a teacher."""
    if not stage.is_taught:
        return 0.0
    if not stage.asks_teacher:  # the float network that a stage in int8 starts from
        return network_macs(plan, plan.student.arch, stage.data.size)
    name = next(name for name, one in plan.stages.items() if one is stage)
    return sum(teacher_macs(plan, teacher) for teacher in plan.teachers_of(name).values())


def checkpoint_bytes(plan: Plan, stage: Stage) -> int:
    """Bytes that a stage leaves: its newest checkpoints, and its result. Statistics of batch norms are left out.

    Of a stage that trains the head alone this is an upper bound: its optimizer keeps less.
    """
    params = _params(plan, plan.network_of(stage.network).arch)
    copies = CHECKPOINTS * (1 + SLOTS[stage.optim.algorithm] + bool(stage.optim.ema)) + 1
    return FLOAT * copies * params


def export_bytes(plan: Plan) -> int:
    """Bytes of the exported weights, all formats together."""
    params = _params(plan, plan.student.arch)
    return sum(WEIGHT_BYTES.get(name, FLOAT) for name in plan.export.formats) * params


def scaled_lr(lr: float, batch: int, wanted: int) -> float:
    """The rate that linear scaling gives for a batch of `wanted` images, from that for `batch` (arXiv:1706.02677)."""
    return lr * wanted / batch


def _params(plan: Plan, arch: str | None) -> int:
    if arch is None:
        raise RecipeError(f"{plan.name}: {NOT_COUNTED}")
    return cards.find_student(arch).params
