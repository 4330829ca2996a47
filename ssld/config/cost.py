"""What the parts of a recipe cost, by arithmetic on the plan and the cards. Nothing here is measured.

The one estimate is `gpu_hours`: multiply-adds over a stated share of a stated card's peak. All else is counted.
"""

from pathlib import Path

from ssld.config import cards, recipe
from ssld.config.pool import Mine
from ssld.config.recipe import Plan, Stage
from ssld.errors import RecipeError

PEAK = 15.7e12 / 2  # multiply-adds a second of a V100 (SXM2) in float32, by NVIDIA's data sheet: two operations each
SHARE = 0.5  # of it that a training is thought to reach; an assumption, too high for depthwise convolutions
FORWARDS = {"all": 3, "head_and_norms": 2, "head": 1}  # of a step in forward passes, by what the stage trains
FLOAT = 4  # bytes
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
    return FORWARDS[stage.train] * network_macs(_arch(plan, stage), stage.data.size)


def network_macs(arch: str, size: int) -> float:
    """Multiply-adds of one image of `size` pixels: those of the card, in proportion to the pixels."""
    card = cards.find_student(arch)
    return card.macs * (size / card.input.size) ** 2


def teacher_macs(plan: Plan) -> float:
    """Multiply-adds of the teacher's forward pass, an image at its own size; 0 for a recipe without a teacher."""
    if plan.teacher is None:
        return 0.0
    if plan.teacher.stage:
        return network_macs(str(plan.teacher.arch), plan.stages[plan.teacher.stage].data.size)
    return cards.find_teacher(str(plan.teacher.card)).macs


def mine_macs(step: Mine) -> float:
    """Multiply-adds of scoring one image of the pool. RecipeError for a run that trains no teacher."""
    if not is_run(step.teacher):
        return cards.find_teacher(step.teacher).macs
    plan = recipe.of_run(Path(step.teacher))
    if plan.teacher is None or plan.teacher.stage is None:
        raise RecipeError(f"teacher {step.teacher}: this run trains no teacher; give another run, or a card")
    return network_macs(str(plan.teacher.arch), plan.stages[plan.teacher.stage].data.crop)


def is_run(teacher: str) -> bool:
    """Whether the teacher of a mining is the folder of a run; else it is the name of a card."""
    return (Path(teacher) / "plan.yaml").is_file()


def taught_macs(plan: Plan, stage: Stage) -> float:
    """Multiply-adds of the forward pass that labels an image of a stage; 0 where no loss learns from a teacher."""
    if not stage.is_taught:
        return 0.0
    return teacher_macs(plan) if stage.asks_teacher else network_macs(plan.student.arch, stage.data.size)


def checkpoint_bytes(plan: Plan, stage: Stage) -> int:
    """Bytes that a stage leaves: its newest checkpoints, and its result. Statistics of batch norms are left out.

    Of a stage that trains the head alone this is an upper bound: its optimizer keeps less.
    """
    params = cards.find_student(_arch(plan, stage)).params
    copies = CHECKPOINTS * (1 + SLOTS[stage.optim.algorithm] + bool(stage.optim.ema)) + 1
    return FLOAT * copies * params


def export_bytes(plan: Plan) -> int:
    """Bytes of the exported weights, all formats together."""
    params = cards.find_student(plan.student.arch).params
    return sum(WEIGHT_BYTES.get(name, FLOAT) for name in plan.export.formats) * params


def scaled_lr(lr: float, batch: int, wanted: int) -> float:
    """The rate that linear scaling gives for a batch of `wanted` images, from that for `batch` (arXiv:1706.02677)."""
    return lr * wanted / batch


def _arch(plan: Plan, stage: Stage) -> str:
    return str(plan.teacher and plan.teacher.arch) if stage.network == "teacher" else plan.student.arch
