"""Compute what a stage minimises: the weighted sum of its terms."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Literal

from ssld.errors import DataError, RecipeError, RunError, call_own
from ssld.interfaces import Batch, Outputs
from ssld.losses.base import About, Loss
from ssld.losses.lazy import Tensor, paddle
from ssld.losses.schedule import Schedule, weight_at
from ssld.losses.terms import Term, student_reads, teacher_reads
from ssld.losses.views import by_view, named, of_view

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from paddle import nn

    from ssld.runtime import Runtime

LABELS: tuple[Literal["label"], Literal["label_b"]] = ("label", "label_b")
"""The keys of a batch that hold labels."""


class Objective:
    """Compute the weighted sum of the terms of a stage, and keep the parts for the log.

    steps_per_epoch: of the stage, for weights that change with the epochs. views: the names of its further views. The
    weight multiplies also when there is only one term, and a term of weight 0 is computed all the same: which
    parameters get a gradient never depends on a weight.
    """

    def __init__(self, terms: Mapping[str, Term], steps_per_epoch: int = 1, views: Collection[str] = ()):
        self.terms, self.steps_per_epoch = dict(terms), steps_per_epoch
        read = student_reads(self.terms.values())
        self.logits = named(next(iter(by_view(read, views)), None), "logits")
        """The student's logits of the first of the views that it sees."""
        self.student_reads = read | {self.logits}
        """The outputs of the student that are needed, `logits` of a view among them."""
        self.constant: list[str] = []
        """The terms whose value had no gradient in the last batch: they train nothing."""

    @property
    def teacher_reads(self) -> frozenset[str]:
        """Return the outputs of the teacher that are needed; none where there is no teacher."""
        return teacher_reads(self.terms.values())

    @property
    def helped(self) -> dict[str, Loss]:
        """Return name of a term -> its loss, of those that may own layers, or check outputs before the first step."""
        loss_classes = {name: type(t.loss) for name, t in self.terms.items()}
        defaults = (Loss.helpers, Loss.check)
        return {
            name: self.terms[name].loss for name, cls in loss_classes.items() if (cls.helpers, cls.check) != defaults
        }

    def helpers(self, about: Callable[[str], About]) -> dict[str, nn.Layer]:
        """Return name of a term -> the layers of its loss, of the terms that own any.

        `about(name)` says what they depend on, and seeds Paddle's generator for the term.
        """
        layers = {
            name: (_own_helpers if _is_own(loss) else _helpers)(name, loss, about(name))
            for name, loss in self.helped.items()
        }
        return {name: layer for name, layer in layers.items() if layer is not None}

    def __call__(
        self, student: Outputs, teacher: Outputs | None, batch: Batch, helpers: Mapping[str, nn.Layer] | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return (weighted sum, parts), scalar tensors: `loss/<name>`, a term before its weight, without a gradient,
        `weight/<name>` where the weight of a term changes, `passed/<name>` for the share of the images that count where
        a term takes those of which the teacher is sure, and `<name>/<key>` for what the layers of a term log.

        student, teacher: outputs, float [N, ...] each; `teacher` is None where no term needs one. A batch without
        `step` counts as one of step 0. It raises DataError for a label that is not one of the classes, and for an image
        without a label where a term does not ignore it; on a GPU, where looking would wait for the device, such an
        image makes the loss infinite, which stops the run.
        """
        weighed, parts = self._weighed(student, teacher, batch, helpers)
        return sum(weighed.values()), parts

    def apart(
        self, student: Outputs, teacher: Outputs | None, batch: Batch, helpers: Mapping[str, nn.Layer] | None = None
    ) -> tuple[tuple[Tensor, Tensor], dict[str, Tensor]]:
        """Return what a call returns, with two sums: that of the task's terms, then that of the distillation's.

        There must be terms on both sides.
        """
        weighed, parts = self._weighed(student, teacher, batch, helpers)
        task, distil = (
            sum(value for name, value in weighed.items() if self.terms[name].learns_from == side)
            for side in ("task", "distil")
        )
        return (task, distil), parts

    def _weighed(
        self, student: Outputs, teacher: Outputs | None, batch: Batch, helpers: Mapping[str, nn.Layer] | None
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return (name -> value times weight, parts for the log)."""
        taught = Outputs(_wide(teacher, keep_gradient=False), *_also(teacher)) if teacher is not None else Outputs()
        own, step = Outputs(_wide(student), *_also(student)), batch.get("step", 0)
        peers = {name: Outputs(_wide(outputs)) for name, outputs in batch.get("peers", {}).items()}
        with paddle.amp.auto_cast(enable=False):  # level O2 would subtract log-probabilities in 16 bits
            for name, term in self.terms.items():
                _check_weights(name, term.loss, own, taught)
            labels = _Labels(batch, student[self.logits].shape[-1], self.terms)
            parts, passed = {}, {}
            for name, term in self.terms.items():
                seen, shown = of_view(own, term.student_view), of_view(taught, term.teacher_view)
                beside = {peer: of_view(outputs, term.student_view) for peer, outputs in peers.items()}
                value = labels.value(name, term.loss, seen, shown, (helpers or {}).get(name), beside)
                if term.min_teacher is not None:
                    value, passed[f"passed/{name}"] = _selected(name, term, value, shown)
                parts[name] = value.mean() if value.ndim else value
            self.constant = [name for name, part in parts.items() if part.stop_gradient]
            weights = {name: weight_at(term.weight, step, self.steps_per_epoch) for name, term in self.terms.items()}
            weighed = {name: weights[name] * part for name, part in parts.items()}
        changing = {
            f"weight/{name}": paddle.to_tensor(weights[name], dtype="float32")
            for name, term in self.terms.items()
            if isinstance(term.weight, Schedule)
        }
        return weighed, {
            **{f"loss/{name}": part.detach() for name, part in parts.items()},
            **changing,
            **passed,
            **self._logged(helpers or {}),
        }

    def _logged(self, helpers: Mapping[str, nn.Layer]) -> dict[str, Tensor]:
        """Return what the layers of the terms log, such as a temperature that is trained."""
        loggers = {name: layer for name, layer in helpers.items() if hasattr(layer, "logged")}
        values = {name: _scalars(name, self._call(name, "logged", layer)) for name, layer in loggers.items()}
        return {f"{name}/{key}": value.detach() for name, logged in values.items() for key, value in logged.items()}

    def after_step(self, helpers: Mapping[str, nn.Layer], runtime: Runtime) -> None:
        """Tell the layers that keep something of past batches that the optimiser has made its step.

        Raises RecipeError where that is other people's code and fails.
        """
        for name, layer in helpers.items():
            if hasattr(layer, "after_step"):
                self._call(name, "after_step", layer, runtime)

    def _call(self, name: str, method: str, layer: nn.Layer, *arguments: object) -> object:
        """Call a method of the layers of a term, which may be other people's code."""
        function = getattr(layer, method)
        if not _is_own(self.terms[name].loss):
            return function(*arguments)
        return call_own(function, f"loss {name}: {method} of its layers", *arguments)


def _scalars(name: str, logged: object) -> dict[str, Tensor]:
    """Return what the layers of a term log. Raises RecipeError where it is no mapping of names to single numbers."""
    if not isinstance(logged, dict):
        what = f"gives a {type(logged).__name__}"
        raise RecipeError(f"loss {name}: logged of its layers {what}; return a dict of names and tensors")
    for key, value in logged.items():
        if not isinstance(value, paddle.Tensor) or value.size != 1:
            shown = list(value.shape) if isinstance(value, paddle.Tensor) else f"a {type(value).__name__}"
            what = f"gives {shown} for {key!r}"
            raise RecipeError(f"loss {name}: logged of its layers {what}; return a tensor of one number")
    return logged


def _selected(name: str, term: Term, value: Tensor, teacher: Outputs) -> tuple[Tensor, Tensor]:
    """Return the value of each image, [N], weighed by how sure the teacher is of it, and the share that counts."""
    assert term.min_teacher is not None
    if not value.ndim:
        what = f"{type(term.loss).__name__} gives one number for all images, and min_teacher selects among them"
        raise RecipeError(f"loss {name}: {what}; return a value for each image, or leave min_teacher out")
    weights, share = term.min_teacher.weights(_answers(term.loss, teacher))
    return value * weights.astype(value.dtype), share


def _answers(loss: Loss, teacher: Outputs) -> Tensor:
    """Return the teacher's logits of the images themselves, [N, classes]: the first of the rows that a loss reads."""
    return teacher["logits"][:: loss.views] if loss.views > 1 else teacher["logits"]


def _helpers(name: str, loss: Loss, about: About) -> nn.Layer | None:
    try:
        loss.check(about)
        return loss.helpers(about)
    except RecipeError as error:
        raise RecipeError(f"loss {name}: {error}") from None


def _own_helpers(name: str, loss: Loss, about: About) -> nn.Layer | None:
    """Do what `_helpers` does, with other people's code."""
    made = call_own(_helpers, f"loss {name}: making its layers", name, loss, about)
    if made is not None and not callable(getattr(made, "parameters", None)):
        what = f"helpers() gives a {type(made).__name__}, not a layer"
        raise RecipeError(f"loss {name}: {what}; return a paddle.nn.Layer (nn.LayerList holds several), or None")
    return made


def _is_own(loss: Loss) -> bool:
    """Return whether the class of a loss is other people's code."""
    return type(loss).__module__.partition(".")[0] != __package__.partition(".")[0]


def _check_weights(name: str, loss: Loss, student: Outputs, teacher: Outputs) -> None:
    """Raise RunError where a loss reads the weights of a layer that a network does not hand over."""
    weights = {"student": student.weights, "teacher": teacher.weights}
    for role, layers in loss.reads.weights.items():
        for layer in sorted(layers):
            if f"{layer}.weight" not in weights[role]:
                what = (
                    f"it reads the weights of {layer!r}, and the {role} hands over {', '.join(weights[role]) or 'none'}"
                )
                raise RunError(f"loss {name}: {what}; take another network or tap, and for a teacher the engine eager")


class _Labels:
    """Hold the labels of a batch as each loss wants them: none is -1, and mixed images are counted with both labels."""

    def __init__(self, batch: Batch, classes: int, terms: Mapping[str, Term]):
        self.batch = batch
        readers = {name: t.loss for name, t in terms.items() if "label" in t.loss.reads.batch}
        labels = [batch[key] for key in LABELS if readers and key in batch]
        strict = next((name for name, loss in readers.items() if loss.on_unlabelled() == "refuse"), None)
        for values in labels:
            if not values.place.is_gpu_place():
                _check(values.numpy(), classes, strict, batch)
        self.clipped = [values.clip(min=0) for values in labels]
        self.known = [values >= 0 for values in labels]

    def value(
        self,
        name: str,
        loss: Loss,
        student: Outputs,
        teacher: Outputs,
        helpers: nn.Layer | None,
        peers: Mapping[str, Outputs],
    ) -> Tensor:
        """Return the value of a loss for each image, [N], or the number that it gives for all of them.

        `peers` are the outputs of the networks that train beside the student, as the loss sees those of the student.
        Images that the loss ignores count 0, and are among those that the mean is taken over: so it is the same for any
        number of ranks and micro-batches.
        """
        batch: Batch = {**self.batch, "peers": peers} if peers else self.batch
        if "label" not in loss.reads.batch or not self.clipped:
            return _computed(name, loss, student, teacher, batch, helpers)
        rule, labels = loss.on_unlabelled(), self.clipped
        if rule == "teacher_argmax":
            answer = _answers(loss, teacher).argmax(axis=-1)
            pairs = zip(self.known, self.clipped, strict=True)
            labels = [paddle.where(known, label, answer) for known, label in pairs]
        batches: list[Batch] = [{**batch, "label": label} for label in labels]
        rows = [_computed(name, loss, student, teacher, one, helpers) for one in batches]
        value, share = rows[0], self.batch.get("lam", 1.0)
        if len(rows) == 2:
            value = share * rows[0] + (1 - share) * rows[1]
        if rule == "teacher_argmax":
            return value
        has_label = [mask.astype(rows[0].dtype) for mask in self.known]
        labelled = has_label[0] if len(rows) == 1 else has_label[0] * has_label[1]
        if not value.ndim:
            return value if rule == "ignore" else value / labelled.min()
        return value * labelled if rule == "ignore" else value / labelled  # x / 0 = infinity


def _computed(
    name: str, loss: Loss, student: Outputs, teacher: Outputs, batch: Batch, helpers: nn.Layer | None
) -> Tensor:
    """Return the value of a loss.

    Raises RecipeError where it is other people's code and fails, or gives no value for each image.
    """
    if not _is_own(loss):
        return loss(student, teacher, batch, helpers)
    found = call_own(loss, f"loss {name}", student, teacher, batch, helpers)
    images = student["logits"].shape[0] // loss.views
    if not isinstance(found, paddle.Tensor) or list(found.shape) not in ([], [images]):
        shown = list(found.shape) if isinstance(found, paddle.Tensor) else f"a {type(found).__name__}"
        what = f"{type(loss).__name__} gives {shown} for {images} images"
        raise RecipeError(f"loss {name}: {what}; return a tensor [{images}], a value for each image, or one number")
    return found


def _check(values: NDArray[np.int64], classes: int, strict: str | None, batch: Batch) -> None:
    """Raise DataError for labels, int64 [N] in NumPy, that are no classes.

    `strict`: a term that refuses missing ones.
    """
    wrong = ((values < (0 if strict else -1)) | (values >= classes)).nonzero()[0]
    if wrong.size == 0:
        return
    row, value = int(wrong[0]), int(values[wrong[0]])
    image = f"image {int(batch['index'][row])}" if "index" in batch else f"row {row} of the batch"
    if value == -1:
        advice = f"drop the loss {strict} here, or set its unlabelled: ignore or teacher_argmax"
        raise DataError(f"{image}: has no label; {advice}")
    raise DataError(f"{image}: label {value} is not in 0..{classes - 1}; correct the list file or `classes`")


def _wide(outputs: Mapping[str, Tensor], keep_gradient: bool = True) -> dict[str, Tensor]:
    """Return the outputs in 32 bits or more: sums and differences of 16-bit numbers lose what a loss is about."""
    narrow = (paddle.float16, paddle.bfloat16)
    wide = {name: value.astype("float32") if value.dtype in narrow else value for name, value in outputs.items()}
    return wide if keep_gradient else {name: value.detach() for name, value in wide.items()}


def _also(outputs: Outputs) -> tuple[dict[str, Outputs], Mapping[str, Tensor]]:
    """Return what accompanies the outputs themselves: those of each teacher, and weights."""
    each = {name: Outputs(_wide(of_teacher, keep_gradient=False)) for name, of_teacher in outputs.each.items()}
    return each, _wide(outputs.weights)
