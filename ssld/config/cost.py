"""Compute what the parts of a recipe cost from the plan and the cards. Nothing here is measured.

The only estimate is `gpu_hours`: multiply-adds over an assumed share of the peak of one kind of GPU. All else is
counted. No card has the costs of a network of one's own, or of one with another end. Such a network has to be made for
that, which whoever asks does with a `Count`; without one it is refused.
"""

from collections.abc import Callable
from pathlib import Path

from ssld.config import cards, recipe
from ssld.config.mine_step import Mine
from ssld.config.recipe import Network, Plan, Stage
from ssld.config.teachers import Teacher
from ssld.errors import RecipeError

PEAK = 15.7e12 / 2  # multiply-adds (two operations) a second of a V100 (SXM2) in float32, by NVIDIA's data sheet
SHARE = 0.5  # assumed share of the peak in a training; it is too high for depthwise convolutions
FORWARDS = {
    "all": 3,
    "head_and_norms": 2,
    "head": 1,
    "helpers": 1,
}  # cost of a step in forward passes, by what the stage trains
FLOAT = 4  # bytes of a float32
NOT_COUNTED = "a network without a card has no arithmetic that is known without making it; `ssld run` counts it"
WEIGHT_BYTES = {"fp16": 2, "paddle2_int8": 1}  # of a weight in a file; other formats, int8 too, hold float32
SLOTS = {
    "momentum": 1,
    "adamw": 2,
    "lamb": 2,
    "rmsprop": 3,
    "dot": 2,
}  # numbers that an optimizer keeps for each weight
CHECKPOINTS = 2  # number of the newest checkpoints that a stage keeps
Block = Network | Teacher
Count = Callable[[Plan, Block, int], tuple[int, int]]
"""Return (parameters, multiply-adds of an image of so many pixels a side) of a network of a plan that no card has."""


def refuse(plan: Plan, network: Block, size: int) -> tuple[int, int]:
    """Raise RecipeError for a network that no card has."""
    raise RecipeError(f"{plan.name}: {NOT_COUNTED}")


def gpu_hours(macs: float) -> float:
    """Estimate the hours of one V100 for so many multiply-adds: macs / (0.5 x 7.85e12 a second) / 3600.

    That is SHARE of its PEAK. The estimate knows no input pipeline, no memory traffic, no communication and no
    evaluation.
    """
    return macs / (SHARE * PEAK) / 3600


def student_macs(plan: Plan, stage: Stage, count: Count = refuse) -> float:
    """Return the multiply-adds of a training step for one image, in all the views that the student sees of it.

    Where several networks train together, it is their sum.
    They are a forward pass, and twice that for the gradients of the activations and of the weights. A stage that trains
    less than everything needs fewer, see FORWARDS.
    """
    macs = sum(block_macs(plan, network, stage.data.size, count) for network in networks_of(plan, stage))
    return FORWARDS[stage.train] * stage.student_rows * macs


def network_macs(plan: Plan, arch: str | None, size: int) -> float:
    """Return the multiply-adds of one image of `size` pixels: those of the card, in proportion to the pixels.

    Raises RecipeError for a network of one's own, which has no card.
    """
    if arch is None:
        raise RecipeError(f"{plan.name}: {NOT_COUNTED}")
    card = cards.find_student(arch)
    return card.macs * (size / card.input.size) ** 2


def block_macs(plan: Plan, network: Block, size: int, count: Count) -> float:
    """Return the multiply-adds of one image of `size` pixels of a network of the plan."""
    arch = card_of(network)
    return count(plan, network, size)[1] if arch is None else network_macs(plan, arch, size)


def card_of(network: Block) -> str | None:
    """Return the architecture whose card has the costs of a network, or None where no card has them."""
    return network.card_arch if isinstance(network, Network) else network.arch


def teacher_macs(plan: Plan, teacher: Teacher, count: Count = refuse) -> float:
    """Return the multiply-adds of a teacher's forward pass for one image at its own size.

    Raises RecipeError for a teacher of another framework.
    """
    if teacher.card:
        return cards.find_teacher(teacher.card).macs
    if teacher.run:
        plan_of_run = recipe.of_finished_run(Path(teacher.run))
        size = plan_of_run.stages[plan_of_run.last].data.crop
        return block_macs(plan_of_run, plan_of_run.student, size, count)
    if teacher.stage:
        stage = plan.stages[teacher.stage]
        return block_macs(plan, plan.network_of(stage.network), stage.data.size, count)
    if teacher.is_foreign:
        return refuse(plan, teacher, 0)[1]
    return block_macs(plan, teacher, teacher.input.size if teacher.input else 0, count)


def mine_macs(plan: Plan, step: Mine, count: Count = refuse) -> float:
    """Return the multiply-adds of scoring one image of the pool.

    Raises RecipeError for a run that trains no teacher.
    """
    if step.teacher in plan.all_teachers:
        return teacher_macs(plan, plan.all_teachers[step.teacher], count)
    if not is_run(step.teacher):
        return cards.find_teacher(step.teacher).macs
    plan_of_run = recipe.of_run(Path(step.teacher))
    stages = [teacher.stage for teacher in plan_of_run.all_teachers.values() if teacher.stage]
    if not stages:
        raise RecipeError(f"teacher {step.teacher}: this run trains no teacher; give another run, or a card")
    stage = plan_of_run.stages[stages[0]]
    return block_macs(plan_of_run, plan_of_run.network_of(stage.network), stage.data.crop, count)


def is_run(teacher: str) -> bool:
    """Return whether the teacher of a mining is the folder of a run; otherwise it is the name of a card."""
    return (Path(teacher) / "plan.yaml").is_file()


def taught_macs(plan: Plan, stage: Stage, count: Count = refuse) -> float:
    """Return the multiply-adds of the forward passes that label an image of a stage, in all the views that it reads.

    They are 0 where no loss learns from a teacher.
    """
    if not stage.is_taught:
        return 0.0
    if not stage.asks_teacher:  # a stage in int8 learns from the float network that it starts from
        return stage.teacher_rows * block_macs(plan, plan.student, stage.data.size, count)
    name = next(name for name, candidate in plan.stages.items() if candidate is stage)
    return stage.teacher_rows * sum(teacher_macs(plan, teacher, count) for teacher in plan.teachers_of(name).values())


def checkpoint_bytes(plan: Plan, stage: Stage, count: Count = refuse) -> int:
    """Return the bytes that a stage leaves: its newest checkpoints, and its result.

    Statistics of batch norms are left out. For a stage that trains the head alone the number is an upper bound, because
    its optimizer keeps less.
    """
    params = sum(_params(plan, network, stage.data.size, count) for network in networks_of(plan, stage))
    copies = CHECKPOINTS * (1 + SLOTS[stage.optim.algorithm] + bool(stage.optim.ema)) + 1
    return FLOAT * copies * params


def export_bytes(plan: Plan, count: Count = refuse) -> int:
    """Return the bytes of the exported weights in all formats together."""
    params = _params(plan, plan.student, plan.stages[plan.last].data.size, count)
    return sum(WEIGHT_BYTES.get(name, FLOAT) for name in plan.export.formats) * params


def scaled_lr(lr: float, batch: int, new_batch: int) -> float:
    """Return the rate that linear scaling gives for a batch of `new_batch` images (arXiv:1706.02677).

    `lr` is the rate for `batch` images.
    """
    return lr * new_batch / batch


def networks_of(plan: Plan, stage: Stage) -> list[Block]:
    """Return the networks that a stage trains."""
    return [plan.network_of(stage.network), *stage.peers.values()]


def _params(plan: Plan, network: Block, size: int, count: Count) -> int:
    arch = card_of(network)
    return count(plan, network, size)[0] if arch is None else cards.find_student(arch).params
