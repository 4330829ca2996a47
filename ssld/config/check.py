"""Check what the parts of a recipe need of each other, before anything runs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ssld.config import code
from ssld.config.mine_step import Mine, check_mine
from ssld.config.optim import check_apart, check_optim
from ssld.config.quantize import check_quantize
from ssld.config.teachers import Teacher, check_combine, check_teacher
from ssld.config.views import check_named_views, check_views
from ssld.errors import RecipeError, did_you_mean
from ssld.interfaces import FIRST_VIEW
from ssld.losses import Loss
from ssld.losses.stages import is_open, of_stages
from ssld.losses.views import by_view
from ssld.spec.names import check_name

if TYPE_CHECKING:
    from ssld.config.recipe import Head, Network, Plan, Stage


def check_plan(plan: Plan, where: str) -> None:
    """Check that a plan can be run as it says. Raises RecipeError for the first part that cannot."""
    check_stages(plan, where)
    check_student(plan, where)
    for name in plan.stages:
        check_peers(plan, name, where)
        check_taken(plan, name, where)
    check_teachers(plan, where)
    for name in plan.stages:
        check_asked(plan, name, where)
        check_reads(plan, name, where)
    check_labels(plan, where)
    check_quantize(plan, where)
    check_pretrained(plan, where)
    for name, stage in plan.stages.items():
        check_settings(stage, f"{where}: stages.{name}")
    for name, step in (plan.prepare or {}).items():
        check_mine(step, f"{where}: prepare.{name}.")
        _check_miner(plan, step, f"{where}: prepare.{name}")


def check_stages(plan: Plan, where: str) -> None:
    """Check what types cannot say: references between stages, and numbers with which a recipe cannot be run.

    Raises RecipeError.
    """
    if not plan.stages:
        raise RecipeError(f"{where}: stages: a recipe needs at least one stage")
    check_name(plan.name, f"{where}: name")
    named = {"stages": [*plan.stages], "teachers": [*plan.teachers], "prepare": [*(plan.prepare or ())]}
    for key, names in named.items():
        for name in names:  # each becomes a folder, or a part of the name of a file
            check_name(name, f"{where}: {key}")
    earlier_stages: dict[str, Stage] = {}
    for name, stage in plan.stages.items():
        _check_stage(plan, name, stage, earlier_stages, f"{where}: stages.{name}")
        earlier_stages[name] = stage
    if plan.stages[plan.last].network != "student":
        raise RecipeError(f"{where}: stages: the last stage must train the student; it is what is exported")
    for name, stage in plan.stages.items():
        if stage.data.test not in (None, plan.test):
            what = f"test images are shown once, after the last stage, which names {plan.test or 'none'}"
            raise RecipeError(f"{where}: stages.{name}.data.test: {what}; give both the same, or leave it out here")
    if plan.baseline is not None:
        _check_baseline(plan, plan.baseline, f"{where}: baseline")


def _check_baseline(plan: Plan, name: str, where: str) -> None:
    """Check that the gain is a difference of two trainings of the student, measured on the same images.

    Raises RecipeError otherwise.
    """
    if name not in plan.stages:
        raise RecipeError(f"{where}: no stage named {name!r}{did_you_mean(name, plan.stages)}")
    stage, last = plan.stages[name], plan.stages[plan.last]
    if stage.network != "student":
        raise RecipeError(f"{where}: stage {name!r} trains the {stage.network}; name a stage of the student")
    if stage.data.val != last.data.val:
        what = f"stage {name!r} is evaluated on {stage.data.val}, and the last stage on {last.data.val}"
        raise RecipeError(f"{where}: {what}; give both the same data.val")


def _check_stage(plan: Plan, name: str, stage: Stage, earlier: dict[str, Stage], where: str) -> None:
    if stage.continues and stage.init not in earlier:
        hint = did_you_mean(stage.init, [*earlier, "scratch", "pretrained"])
        raise RecipeError(f"{where}.init: no earlier stage named {stage.init!r}{hint}")
    if stage.continues and earlier[stage.init].network != stage.network:
        raise RecipeError(
            f"{where}.init: stage {stage.init!r} trains the {earlier[stage.init].network}; "
            f"name one of the {stage.network}"
        )
    check_numbers(stage, where)


def check_numbers(stage: Stage, where: str) -> None:
    """Check that the numbers of a stage go together. Raises RecipeError otherwise.

    `where` is the path of the stage.
    """
    data, optim = stage.data, stage.optim
    if not (stage.epochs or stage.quantize):  # a quantised stage of no epoch sets its ranges
        raise RecipeError(f"{where}.epochs: should be above 0; got {stage.epochs}")
    if data.batch % optim.accumulate:
        what = f"{optim.accumulate} does not divide data.batch {data.batch}"
        raise RecipeError(f"{where}.optim.accumulate: {what}; change one of them")
    if data.resize < data.crop:
        what = f"{data.resize} pixels are less than the {data.crop} of the crop that is taken of them"
        raise RecipeError(f"{where}.data.eval_resize: {what}; give {data.crop} or more")
    for key, augment in {
        "augment": data.augment,
        **{f"views.{name}": view for name, view in data.further.items()},
    }.items():
        if augment.pad >= data.size:
            what = f"{augment.pad} pixels on every side of {data.size} can leave a black image"
            raise RecipeError(f"{where}.data.{key}.pad: {what}; give less than {data.size}")
    ends = {"warmup_epochs": optim.warmup_epochs}
    if optim.schedule == "step":
        ends["milestones"] = max(optim.milestones, default=0)
    if optim.schedule == "exponential":
        ends["decay_epochs"] = optim.decay_epochs
    for key, epoch in ends.items() if stage.epochs else ():
        if epoch >= stage.epochs:
            what = f"epoch {epoch:g} is not within the {stage.epochs:g} epochs of the stage"
            raise RecipeError(f"{where}.optim.{key}: {what}; give less, or more epochs")


def _check_miner(plan: Plan, step: Mine, where: str) -> None:
    """Check that a teacher of the recipe can score a pool before the first stage, as the step says.

    Raises RecipeError otherwise.
    """
    teacher = plan.all_teachers.get(step.teacher)
    if teacher is None:
        return
    if teacher.stage:
        what = f"stage {teacher.stage!r} trains {step.teacher!r}, and images are mined before the first stage"
        raise RecipeError(f"{where}.teacher: {what}; name another teacher, or the folder of a run that trained one")
    if step.weights:
        raise RecipeError(f"{where}.weights: teacher {step.teacher!r} of the recipe has its own; leave them out")
    if teacher.is_foreign and step.engine != "eager":
        what = f"{step.engine} cannot hold teacher {step.teacher!r}, which comes from {teacher.source}"
        raise RecipeError(f"{where}.engine: {what}; leave it out")


def check_settings(stage: Stage, where: str) -> None:
    """Check that the keys of one stage do not contradict each other. Raises RecipeError otherwise.

    `where` is the path of the stage.
    """
    check_views(stage, where)
    check_mixed(stage, where)
    check_optim(stage.optim, f"{where}.optim.")
    check_apart(stage.optim, stage.loss, stage.quantize is not None, f"{where}.")
    if stage.optim.stage_lr and stage.train == "head":
        what = "train: head updates the last layer alone, which has 1"
        raise RecipeError(f"{where}.optim.stage_lr: {what}; leave it out")


def check_student(plan: Plan, where: str) -> None:
    """Check that the student is an architecture or a network of one's own. Raises RecipeError otherwise."""
    _check_network(plan.student, plan, f"{where}: student")


def _check_network(network: Network, plan: Plan, where: str) -> None:
    """Check that a block describes one network. Raises RecipeError otherwise; `where` is the path of the block."""
    if (network.arch is None) == (network.code is None):
        what = "arch and code are both given" if network.arch else "neither arch nor code is given"
        raise RecipeError(f"{where}: {what}; give arch (`ssld list students`), or code such as nets.py:Tiny")
    if network.arch and (network.options or network.taps):
        key = "options" if network.options else "taps"
        raise RecipeError(f"{where}.{key}: it belongs to a network of code; leave it out")
    _check_code(network, plan, f"{where}.code")
    if network.head:
        _check_head(network, network.head, plan, f"{where}.head")


def _check_head(network: Network, head: Head, plan: Plan, where: str) -> None:
    """Check that a network can end otherwise than in its own classifier. Raises RecipeError otherwise."""
    if network.code:
        raise RecipeError(f"{where}: a network of your own ends as its code says; leave head out")
    if head.kind != "teacher":
        if head.teacher:
            raise RecipeError(f"{where}.teacher: {head.kind} is a layer of the network's own; leave it out")
        return
    name = plan.head_teacher(head)
    teacher = plan.all_teachers.get(name)
    if teacher is None:
        hint = did_you_mean(name, plan.all_teachers) or "; name a teacher of the recipe"
        raise RecipeError(f"{where}.teacher: {f'no teacher named {name!r}' if name else 'no teacher is named'}{hint}")
    if teacher.source not in ("card", "stage", "weights"):
        what = f"teacher {name!r} comes from {teacher.source}, whose last layers are not at hand"
        raise RecipeError(f"{where}.teacher: {what}; name one of a card, a stage or weights")
    stages = [*plan.stages]
    uses = [
        stages.index(of)
        for of, stage in plan.stages.items()
        if network in (plan.network_of(stage.network), *stage.peers.values())
    ]
    if teacher.stage in stages and uses and stages.index(teacher.stage) >= min(uses):
        what = f"stage {teacher.stage!r} trains it, and stage {stages[min(uses)]!r} already needs it"
        raise RecipeError(f"{where}.teacher: {what}; put that stage first, or name another teacher")


def check_taken(plan: Plan, name: str, where: str) -> None:
    """Check that the layers of losses with which a stage begins come from layers of an earlier stage.

    Raises RecipeError otherwise. Whether they have the same shapes shows before the first stage, in a step of each.
    """
    stage, path = plan.stages[name], f"{where}: stages.{name}"
    if stage.train == "helpers" and not any(
        type(term.loss).helpers is not Loss.helpers for term in stage.loss.values()
    ):
        raise RecipeError(f"{path}.train: no loss of this stage has layers of its own; give another value")
    if stage.helpers and stage.peers:
        raise RecipeError(f"{path}.helpers: which of the networks are they of? leave peers or helpers out")
    earlier = list(plan.stages)[: list(plan.stages).index(name)]
    for target, source in stage.helpers.items():
        key, (term, *_), (of, *rest) = f"{path}.helpers.{target}", target.split("."), source.split(".")
        if term not in stage.loss:
            raise RecipeError(
                f"{key}: no term named {term!r} in the loss of this stage{did_you_mean(term, stage.loss)}"
            )
        if of not in earlier:
            raise RecipeError(f"{key}: no earlier stage named {of!r}{did_you_mean(of, earlier) or '; give stage.term'}")
        terms = plan.stages[of].loss
        if not rest or rest[0] not in terms:
            hint = did_you_mean(rest[0] if rest else "", terms) or f"; it has {', '.join(terms)}"
            raise RecipeError(f"{key}: no term named {'.'.join(rest)!r} in the loss of stage {of!r}{hint}")
        if plan.stages[of].peers:
            raise RecipeError(f"{key}: stage {of!r} trains several networks; name a stage that trains one")


TAKEN_BY_LOG = ("student", "loss", "weight", "passed")
"""A peer cannot have these names, because records of a training begin other keys with them."""


def check_peers(plan: Plan, name: str, where: str) -> None:
    """Check that the networks that a stage trains together are described, and that they learn from each other.

    Raises RecipeError otherwise.
    """
    stage, path = plan.stages[name], f"{where}: stages.{name}"
    readers = [term for term, of_term in stage.loss.items() if "peers" in of_term.loss.reads.batch]
    if readers and not stage.peers:
        what = "compares networks that train together, and this stage trains one alone"
        raise RecipeError(f"{path}.loss.{readers[0]}: {what}; add peers: {{second: {{arch: ...}}}} to the stage")
    if stage.peers and not readers:
        what = "no loss of this stage compares the networks that it trains"
        raise RecipeError(f"{path}.peers: {what}; add a loss such as dml: {{}}, or leave peers out")
    if stage.peers and stage.quantize:
        raise RecipeError(f"{path}.peers: a stage in int8 trains one network; leave peers or quantize out")
    for peer, network in stage.peers.items():
        key = f"{path}.peers.{peer}"
        check_name(peer, f"{path}.peers")
        if peer in (*TAKEN_BY_LOG, *stage.loss):
            raise RecipeError(f"{key}: metrics begin other names with {peer!r}; rename it")
        _check_network(network, plan, key)
        first = plan.stages[stage.continues].peers.get(peer) if stage.continues else None
        if first and replace(first, pretrained=None) != replace(network, pretrained=None):
            what = f"it goes on from peer {peer!r} of stage {stage.continues!r}, which is another network"
            raise RecipeError(f"{key}: {what}; describe it as there, or rename it")
        if first and network.pretrained:
            what = f"it goes on from peer {peer!r} of stage {stage.continues!r}"
            raise RecipeError(f"{key}.pretrained: {what}; leave it out, or rename the peer")


def _check_code(network: Network | Teacher, plan: Plan, where: str) -> None:
    """Check that what `code` names is in its file. Raises RecipeError otherwise."""
    if network.code is None:
        return
    if not code.is_code(network.code):
        raise RecipeError(f"{where}: {network.code!r} names nothing in a Python file; write it as nets.py:Tiny")
    try:
        code.find(network.code, plan.code)
    except RecipeError as error:
        raise RecipeError(f"{where}: {error}") from None


def check_teachers(plan: Plan, where: str) -> None:
    """Check every teacher, and every stage that trains one.

    Raises RecipeError for a teacher that contradicts itself, and for a stage that trains one that is not described.
    """
    if plan.teacher and "teacher" in plan.teachers:
        raise RecipeError(f"{where}: teachers.teacher: this is the name of the teacher in `teacher`; rename it")
    if "student" in plan.teachers:
        raise RecipeError(f"{where}: teachers.student: this is the name of the student; rename it")
    for name, teacher in plan.all_teachers.items():
        path = f"{where}: {plan.key_of(name)}"
        check_teacher(teacher, path)
        _check_code(teacher, plan, f"{path}.code")
        if teacher.stage is not None and teacher.stage not in plan.stages:
            hint = did_you_mean(teacher.stage, plan.stages)
            raise RecipeError(f"{path}.stage: no stage named {teacher.stage!r}{hint}")
        if teacher.stage is not None and plan.stages[teacher.stage].quantize:
            raise RecipeError(f"{path}.stage: stage {teacher.stage!r} is quantised; name a stage that trains in float")
        if teacher.engine != "eager" and teacher.norm != "running":
            what = f"{teacher.engine} has the running statistics built in"
            raise RecipeError(
                f"{path}.engine: {what}; set {at_key(path)}.norm: running, or {at_key(path)}.engine: eager"
            )
    for name, stage in plan.stages.items():
        _check_trained(plan, name, stage, where)


def at_key(where: str) -> str:
    """Return the key path behind the name of a recipe."""
    return where.rpartition(": ")[2]


def _check_trained(plan: Plan, name: str, stage: Stage, where: str) -> None:
    """Check that the network that a stage trains is the student, or a teacher that says what it is.

    Raises RecipeError otherwise.
    """
    if stage.network == "student":
        return
    teacher, path = plan.all_teachers.get(stage.network), f"{where}: stages.{name}.network"
    if teacher is None:
        if stage.network == "teacher":
            raise RecipeError(f"{path}: this stage trains a teacher; give teacher.arch")
        hint = did_you_mean(stage.network, ["student", *plan.all_teachers])
        raise RecipeError(
            f"{path}: no network named {stage.network!r}{hint or '; give student, or a name of teachers'}"
        )
    if teacher.source != "stage" or not (teacher.arch or teacher.code):
        key = plan.key_of(stage.network)
        raise RecipeError(f"{path}: this stage trains a teacher; give {key}.arch (or code) and {key}.stage")


def check_asked(plan: Plan, name: str, where: str) -> None:
    """Check that a stage that learns from a teacher asks an existing one, which is trained before it.

    Raises RecipeError otherwise.
    """
    stage, path = plan.stages[name], f"{where}: stages.{name}"
    _check_named(plan, stage, path)
    if not stage.asks_teacher:
        return
    teachers = plan.teachers_of(name)
    if not teachers and plan.all_teachers:
        names = ", ".join(plan.all_teachers)
        raise RecipeError(f"{path}.teachers: the recipe has {names}; say which of them teach this stage")
    if not teachers:
        raise RecipeError(f"{path}.loss: learns from a teacher; the recipe has none, add one")
    check_combine(stage.combine, tuple(teachers), f"{path}.combine")
    earlier_stages = list(plan.stages)[: list(plan.stages).index(name)]
    for teacher in teachers.values():
        if teacher.stage and teacher.stage not in earlier_stages:
            what = f"learns from the teacher of stage {teacher.stage!r}"
            raise RecipeError(f"{path}.loss: {what}, which comes later; put that stage first")


def _check_named(plan: Plan, stage: Stage, where: str) -> None:
    """Check the names of teachers in a stage. Raises RecipeError for one that does not exist, or that no loss asks."""
    if stage.teacher and stage.teachers:
        raise RecipeError(f"{where}.teachers: teacher is given too; leave one of them out")
    key = "teachers" if stage.teachers else "teacher"
    for name in stage.teachers or filter(None, (stage.teacher,)):
        if name not in plan.all_teachers:
            raise RecipeError(f"{where}.{key}: no teacher named {name!r}{did_you_mean(name, plan.all_teachers)}")
        if not stage.asks_teacher:
            raise RecipeError(f"{where}.{key}: no loss of this stage learns from a teacher of the recipe; leave it out")
    if len(set(stage.teachers)) != len(stage.teachers):
        raise RecipeError(f"{where}.teachers: a name stands twice; give each teacher once, and weights in combine")


def check_reads(plan: Plan, name: str, where: str) -> None:
    """Check that the teachers of a stage can give what its losses read. Raises RecipeError otherwise.

    Whether a network has a certain tap shows when the networks are made, before the first step.
    """
    stage, teachers = plan.stages[name], plan.teachers_of(name)
    if plan.network_of(stage.network).code is None:  # a network of one's own may call its taps as it likes
        check_named_views(stage, f"{where}: stages.{name}")
    for term_name, term in stage.loss.items():
        path, loss = f"{where}: stages.{name}.loss.{term_name}", term.loss
        views = by_view(term.reads.teacher, stage.data.views)
        if stage.labels and (further := sorted(views.keys() - {FIRST_VIEW})):
            what = f"reads the view {further[0]!r} of the teacher, and a label cache keeps the first view"
            raise RecipeError(f"{path}: {what}; set labels: null in this stage, or let it read the first view")
        if taps := sorted(set().union(*views.values()) - {"logits"}):
            _check_more_than_logits(stage, teachers, f"reads {taps[0]!r} of the teacher", path)
            _check_taps(teachers, taps, loss, path)
        if layers := sorted(loss.reads.weights.get("teacher", ())):
            _check_more_than_logits(stage, teachers, f"reads the {layers[0]} of the teacher", path)
            _check_weights(teachers, layers[0], loss, path)
        reads_all = loss.every_class and loss.reads.teacher
        if reads_all and stage.labels and stage.labels.kept(plan.classes) < plan.classes:
            what = f"reads the logits of every class, and the label cache keeps {stage.labels.k} of {plan.classes}"
            raise RecipeError(f"{path}: {what}; set stages.{name}.labels.k: null")


def _check_more_than_logits(stage: Stage, teachers: dict[str, Teacher], what: str, where: str) -> None:
    """Check that the labels of a stage can be more than logits.

    Raises RecipeError for the labels of a cache or of an engine, which are logits alone.
    """
    if stage.labels:
        raise RecipeError(f"{where}: {what}, and a label cache keeps logits; set labels: null in this stage")
    for name, teacher in teachers.items():
        if teacher.engine != "eager":
            raise RecipeError(f"{where}: {what}, and an engine gives logits; set engine: eager of teacher {name!r}")


def _check_taps(teachers: dict[str, Teacher], taps: list[str], loss: Loss, where: str) -> None:
    """Check that the teachers of a stage can give these taps.

    Raises RecipeError where several teachers are combined, and for a tap that a foreign teacher does not name.
    """
    if len(teachers) > 1 and not loss.reads.each:
        what = f"reads {taps[0]!r} of the teacher, and several teachers have only their logits in common"
        raise RecipeError(f"{where}: {what}; name one teacher")
    for name, teacher in teachers.items():
        for tap in taps if teacher.is_foreign else ():
            if is_open([tap]):
                if not of_stages(teacher.taps):
                    what = f"reads stages of the teacher, and teacher {name!r} names none"
                    advice = "call its taps stage1, stage2 ..., or name taps in the options student and teacher"
                    raise RecipeError(f"{where}: {what}; {advice}")
            elif tap not in teacher.taps:
                hint = did_you_mean(tap, teacher.taps) or f"; add it to the taps of teacher {name!r}"
                raise RecipeError(f"{where}: reads {tap!r} of the teacher, and teacher {name!r} has no such tap{hint}")


def _check_weights(teachers: dict[str, Teacher], layer: str, loss: Loss, where: str) -> None:
    """Check that the teachers of a stage can give the weights of this layer.

    Raises RecipeError where several teachers are combined, and for a teacher that another framework made.
    """
    if len(teachers) > 1 and not loss.reads.each:
        what = f"reads the {layer} of the teacher, and several teachers have only their logits in common"
        raise RecipeError(f"{where}: {what}; name one teacher")
    for name, teacher in teachers.items():
        if teacher.is_foreign:
            what = f"reads the {layer} of the teacher, and {teacher.source} gives no weights of {name!r}"
            raise RecipeError(f"{where}: {what}; use another teacher, or another loss")


def check_pretrained(plan: Plan, where: str) -> None:
    """Check that the stages that start from given weights train the student, and that there are such weights.

    Raises RecipeError otherwise.
    """
    if "pretrained" in plan.stages:
        raise RecipeError(f"{where}: stages.pretrained: init uses this name for given weights; choose another")
    starts = [name for name, stage in plan.stages.items() if stage.init == "pretrained"]
    for name in starts:
        if plan.stages[name].network != "student":
            raise RecipeError(f"{where}: stages.{name}.init: given weights are the student's; name a stage, or scratch")
        if plan.student.pretrained is None:
            what = f"stage {name} starts from it; give a weights file, or the name of a published training"
            raise RecipeError(f"{where}: student.pretrained: {what}")
    if plan.student.pretrained is not None and not starts:
        raise RecipeError(f"{where}: student.pretrained: no stage starts from it; set init: pretrained in one")


def check_labels(plan: Plan, where: str) -> None:
    """Check that a teacher can fill every label cache.

    Raises RecipeError for a cache without a teacher, whose logits would depend on the batch, or of no size.
    """
    for name, stage in plan.stages.items():
        path, labels = f"{where}: stages.{name}.labels", stage.labels
        if labels is None:
            continue
        if not stage.is_taught:
            raise RecipeError(f"{path}: no loss of this stage learns from a teacher; set labels: null")
        for label_teacher, teacher in plan.teachers_of(name).items():
            if teacher.statistics != "running":
                key = plan.key_of(label_teacher)
                what = f"with {key}.norm: batch the logits of an image depend on the others of its batch"
                raise RecipeError(f"{path}: {what}; set {key}.norm: running, or labels: null")
        if any(term.loss.reads.each for term in stage.loss.values()):
            raise RecipeError(
                f"{path}: a loss reads every teacher apart, and a cache keeps what they say together; set it to null"
            )
        if labels.views < 1 or labels.kept(plan.classes) < 1:
            raise RecipeError(f"{path}: {labels.views} views, k {labels.k}; give 1 view or more, and a k from 1 up")


def check_mixed(stage: Stage, where: str) -> None:
    """Check that a stage that mixes its images has no loss that needs one label for each image.

    Raises RecipeError otherwise.
    """
    augment = stage.data.augment
    for term, term_of_stage in stage.loss.items():
        reads_label = "label" in term_of_stage.loss.reads.batch
        if reads_label and term_of_stage.loss.mixed == "refuse" and (augment.mixup > 0 or augment.cutmix > 0):
            what = f"{term_of_stage.kind} needs images of one label each, and this stage mixes them"
            advice = f"set {at_key(where)}.data.augment.mixup=0 and .cutmix=0, or drop the loss"
            raise RecipeError(f"{where}.loss.{term}: {what}; {advice}")
