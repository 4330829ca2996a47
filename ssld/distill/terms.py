"""Find what the terms of one kind read, train and cost in the stages of a recipe, by one forward pass of each."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from functools import partial

import paddle
from paddle import nn

from ssld import models
from ssld.config.optim import APART
from ssld.config.recipe import Plan, Stage
from ssld.data import sampler
from ssld.distill.state import TrainState
from ssld.distill.step import outputs_of_views, weights_of
from ssld.distill.trial import IMAGES, on_trial
from ssld.errors import RecipeError
from ssld.interfaces import Batch, Outputs
from ssld.losses.objective import Objective
from ssld.losses.terms import Term, unlike_default
from ssld.losses.views import by_view
from ssld.models import evaluating, outputs_of
from ssld.runtime import Runtime


def facts_of_terms(plan: Plan, kind: str) -> dict[str, object]:
    """Map the name of a stage to the facts of its terms of this kind, of the trained network, and of the export.

    A method may be an optimiser instead of a loss. Then they are all terms of the stages that it updates. Networks have
    fresh weights and get two images of random numbers. Multiply-adds are those of convolutions and linear layers in a
    forward pass, as `models.count` counts them. Raises RecipeError where no stage uses the method.
    """
    terms = {
        name: [term_name for term_name, term in stage.loss.items() if kind in (term.kind, stage.optim.algorithm)]
        for name, stage in plan.stages.items()
    }
    if not any(terms.values()):
        what, how = f"no stage has a term of the kind {kind}", f"add {kind}: {{weight: 1.0}} to the loss of a stage"
        if kind in APART:
            what, how = f"no stage has the optimiser {kind}", f"write optim: {{algorithm: {kind}}} in a stage"
        raise RecipeError(f"{plan.name}: {what}; {how} of the recipe")
    return {name: _of_stage(plan, name, names) for name, names in terms.items() if names}


def _of_stage(plan: Plan, name: str, names: list[str]) -> dict[str, object]:
    stage = plan.stages[name]
    with on_trial(plan, name, IMAGES, Runtime(rank=0, world=1, gpu=None)) as (state, batches):
        batch: Batch = {**next(batches), "step": 0, "epoch": 1}
        terms = {term_name: _of_term(state, term_name, batch, stage) for term_name in names}
        params, macs = models.count(state.network, stage.data.size)
        peers = {peer: models.count(network, stage.data.size) for peer, network in state.peers.items()}
        title = models.called(state.network)
    cost = _cost((params, macs), stage)
    end = getattr(plan.network_of(stage.network), "head", None)
    exported = f"the network alone, {params} parameters; no layer of a loss"
    if end is not None:
        exported = f"the network with its {end.kind} head, {params} parameters; no layer of a loss"
    if peers:
        exported += ", and no peer"
    if name != plan.last:
        exported = f"nothing of this stage; stage {plan.last} is the last one"
    return {
        "images": stage.data.batch,
        "trains": {"network": title if end is not None else plan.network_of(stage.network).title, **cost},
        **({"peers": {peer: _cost(counted, stage) for peer, counted in peers.items()}} if peers else {}),
        "terms": terms,
        "exported": exported,
    }


def _cost(counted: tuple[int, int], stage: Stage) -> dict[str, int]:
    """Return parameters, and the multiply-adds of a forward pass of a step, of a network."""
    return {"parameters": counted[0], "multiply_adds": counted[1] * stage.data.batch}


def _of_term(state: TrainState, name: str, batch: Batch, stage: Stage) -> dict[str, object]:
    """Return the facts of one term of a stage. `state` has the stage on trial with a batch of two images."""
    term = state.step.objective.terms[name]
    reads, teacher_outputs = term.reads, batch.get("teacher") or Outputs()
    with evaluating(state.network), paddle.no_grad():
        passes = by_view(reads.student | state.step.objective.student_reads, stage.data.views)
        student_outputs = outputs_of_views(partial(outputs_of, state.network), batch, passes)
    student_outputs.weights = weights_of(state.network, reads.weights.get("student", ()))
    side = {"side": term.learns_from} if stage.optim.algorithm in APART else {}
    facts: dict[str, object] = {
        "weight": term.tree()["weight"],
        **side,
        "student": _shapes(student_outputs, reads.student),
        "teacher": _shapes(teacher_outputs, reads.teacher),
    }
    if reads.each:
        facts["teacher"] = {
            teacher: _shapes(outputs, reads.teacher) for teacher, outputs in teacher_outputs.each.items()
        }
    if reads.weights:
        facts["weights"] = {of: sorted(layers) for of, layers in reads.weights.items() if layers}
    if said := unlike_default(stage.loss[name].loss, term.loss):
        facts["remarks"] = said
    if reads.batch:
        facts["batch"] = sorted(reads.batch)
    layers = dict(state.step.helpers.items()).get(name)
    if layers is None:
        return {**facts, "helpers": None}
    macs = (
        _macs(layers, name, term, (student_outputs, teacher_outputs, batch), stage.data.views)
        * stage.data.batch
        // IMAGES
    )
    micro = sampler.micro_size(stage.data.batch, stage.optim.accumulate, 1)
    return {**facts, "helpers": {"parameters": _parameters(state, name, term, micro), "multiply_adds": macs}}


def _shapes(outputs: Outputs, names: frozenset[str]) -> dict[str, list[int]]:
    """Return the shape of each of these outputs, without the batch, in the order of the network."""
    return {name: list(value.shape[1:]) for name, value in outputs.items() if name in names}


def _macs(
    layers: nn.Layer, name: str, term: Term, arguments: tuple[Outputs, Outputs, Batch], views: Collection[str]
) -> int:
    """Count the multiply-adds of the layers of a term in one forward pass of these outputs."""
    with models.counting(layers) as macs, paddle.no_grad():
        Objective({name: term}, views=views)(*arguments, {name: layers})
    return macs()


def _parameters(state: TrainState, name: str, term: Term, micro: int) -> int:
    """Count the trained parameters of the layers of a term in a run of one rank.

    Its micro-batches are larger than those on trial.
    """
    layers = term.loss.helpers(replace(state.abouts[name], micro=micro))
    assert layers is not None
    return sum(parameter.size for parameter in layers.parameters() if not parameter.stop_gradient)
