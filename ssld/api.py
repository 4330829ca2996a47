"""What a notebook calls: `import ssld`, then `ssld.distill(...)`, `ssld.run(...)` and so on. See docs/python.md.

Every error that a caller can cause is an `SsldError` of one line. PaddlePaddle is imported by the functions, not here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, TypedDict, cast

from ssld.config import cards, check, parse, recipe
from ssld.config.delivery import Export
from ssld.config.keys import plain
from ssld.config.recipe import Data, Plan, Stage
from ssld.config.run_folder import read_result
from ssld.config.teachers import Combine, check_combine
from ssld.distill.arrays import Floats, Numbers
from ssld.errors import RecipeError, RunError, did_you_mean
from ssld.interfaces import Record, StageScores
from ssld.losses import Loss, Term, build_terms
from ssld.losses.registry import built_in, snake_case
from ssld.losses.terms import OWN, term_of
from ssld.plans import load_plan, run_folder, trust_of
from ssld.spec import ranges
from ssld.spec.choices import Device
from ssld.spec.names import check_name
from ssld.spec.revisions import Revision

if TYPE_CHECKING:
    from paddle import nn

    from ssld.data import ImageSource
    from ssld.data.given import Images, Labels
    from ssld.distill.runs import Run, StageRun
    from ssld.distill.teachers import Teacher
    from ssld.models import Classifier
    from ssld.runtime import Runtime

Settings: TypeAlias = Mapping[str, object]
"""Keys of a block of a recipe, with their values: {"batch": 64}."""
GivenLoss: TypeAlias = Loss | Settings | None
TEACHER = "teacher"  # the name of the only one


class NetworkFacts(TypedDict, total=False):
    """Describe a network of a result. `source` is `measured`, or the source of a published top-1."""

    arch: str
    params: int | None
    macs: int | None
    size: int
    top1: float | None
    source: str


class ExportedFile(TypedDict, total=False):
    """Hold what the gate measured of one format of an export (`ssld.deploy.gate`), or in `not_run` why it did not."""

    file: str
    bytes: int
    sha256: str
    max_abs_diff: float
    bound: float
    top1: float | None
    top1_model: float | None
    agree: float
    not_run: str


class RunResult(TypedDict, total=False):
    """Hold the main keys of `result.json`, which has more of them.

    failures: why `export` or `bench` could not be made after the training. It is there only where one failed.
    """

    recipe: str
    title: str
    digest: str
    scope: Literal["full", "smoke"]
    seed: int
    claim: float | None
    student: NetworkFacts
    peers: dict[str, NetworkFacts]  # there only where the last stage trained several networks
    teacher: NetworkFacts | None
    baseline: NetworkFacts | None
    baseline_missing: str | None
    stages: dict[str, StageScores]
    top1: float
    top5: float
    nll: float | None
    ece: float | None
    gain: float | None
    export: dict[str, ExportedFile]
    failures: dict[str, str]
    wall_seconds: float


@dataclass(frozen=True)
class Evaluation:
    """Hold what a network says of n labelled images, and how good that is.

    logits: float32 [n, classes]; labels: int64 [n]; top1, top5, ece (expected calibration error): percent; nll: mean
    cross entropy in nats. nll and ece are None where a logit is not finite. per_class: top-1 of each class in percent,
    None for a class without images.
    """

    top1: float
    top5: float
    nll: float | None
    ece: float | None
    per_class: tuple[float | None, ...]
    logits: Floats = field(repr=False)
    labels: Numbers = field(repr=False)

    @property
    def predicted(self) -> Numbers:
        """Return int64 [n], the class of the highest logit of each image."""
        classes: Numbers = self.logits.argmax(axis=1)
        return classes


def create_model(
    name: str, num_classes: int | None = None, in_size: int | None = None, revision: Revision | None = None
) -> Classifier:
    """Build the network of a published name or an architecture, e.g. "ResNet50_vd_ssld", with fresh weights.

    The name's card says which architecture it is, and what `num_classes`, `in_size` (pixels of evaluation) and
    `revision` (that of its published weights) are by default. Raises RecipeError for an unknown name or an option that
    does not hold.
    """
    from ssld.models import create

    model = cards.find_named(name)
    classes = model.classes if num_classes is None else num_classes
    size = model.input.size if in_size is None else in_size
    return create(model.arch, num_classes=classes, in_size=size, revision=revision or model.revision)


def list_models(pattern: str = "*") -> list[str]:
    """Return the names that `create_model` knows and that match a pattern such as "ResNet*_vd*", in card order."""
    return [name for name in cards.named() if fnmatchcase(name, pattern)]


def run(
    recipe: str | Path | Settings,
    *overrides: str,
    out: str | Path | None = None,
    smoke: bool = False,
    device: Device = "auto",
    reuse: bool = False,
    fresh: bool = False,
) -> FinishedRun:
    """Run every stage of a recipe in this process, then export, measure and report; the same call resumes.

    recipe: the path of one, its name on the shelf, or the recipe as a mapping; paths of code in a mapping are relative
    to the current folder. overrides: `key.path=value`. out: the run folder, by default `runs/<recipe>-<digest>`. smoke:
    seconds on fake images. Finished stages are used again where all that made them is the same; `reuse` insists on it,
    `fresh` trains every stage anew. Several ranks or seeds are what the command `ssld run` is for.

    Raises RecipeError for a recipe that does not hold, and RunError, DataError, WeightsError or DeployError where a
    stage or what follows it cannot be done.
    """
    trust = trust_of(reuse=reuse, fresh=fresh)
    plan = load_plan(recipe, overrides, smoke=smoke)
    folder = Path(out) if out else run_folder(plan, Path("runs"))
    from ssld.run import run_plan
    from ssld.track import Options

    result = run_plan(plan, folder, _runtime(device), Options(wandb="disabled"), trust)
    return FinishedRun(folder, plan, cast(RunResult, result), device)


def load_run(folder: str | Path, device: Device = "auto") -> FinishedRun:
    """Return the finished run of a folder. Raises RunError where it holds no run, and where the run is not finished."""
    plan = recipe.of_finished_run(Path(folder))
    return FinishedRun(Path(folder), plan, cast(RunResult, read_result(Path(folder))), device)


@dataclass(frozen=True)
class FinishedRun:
    """Hold a finished run. plan: its recipe, every default filled in. result: what its `result.json` holds."""

    folder: Path
    plan: Plan
    result: RunResult
    device: Device = "auto"

    @cached_property
    def _run(self) -> Run:
        from ssld.distill.runs import Run

        return Run.of_plan(self.plan, self.folder, _runtime(self.device))

    def student(self) -> nn.Layer:
        """Load the trained student anew, in evaluation mode."""
        return self.stage(self.plan.last).network()

    def teacher(self, name: str | None = None) -> nn.Layer:
        """Load the teacher anew, of several the one of that name. Its accuracy is not checked again.

        Raises RecipeError where no teacher taught a stage, or several did and none is named, and RunError where its
        files are gone.
        """
        from ssld.distill.teachers import load_teacher

        known = [one for one in self.plan.all_teachers if self.plan.is_asked(one)]
        if not known:
            raise RecipeError(f"{self.folder}: no stage of this run asked a teacher")
        if name is None and len(known) > 1:
            raise RecipeError(f"{self.folder}: several teachers taught; name one of {', '.join(known)}")
        if name is not None and name not in known:
            raise RecipeError(f"{self.folder}: no teacher named {name!r}{did_you_mean(name, known)}")
        network = load_teacher(self._run, name or known[0], checked=False).network
        network.eval()
        return network

    def stage(self, name: str) -> FinishedStage:
        """Return a stage by its name. Raises RecipeError where there is none of that name."""
        if name not in self.plan.stages:
            raise RecipeError(f"{self.folder}: no stage named {name!r}{did_you_mean(name, self.plan.stages)}")
        return FinishedStage(self._run.stage(name))

    def evaluate(self, images: Images | None = None, labels: Labels | None = None) -> Evaluation:
        """Evaluate the student on labelled images, by default on the validation images of the run."""
        if images is None:
            from ssld.distill.images import images_of

            images = images_of(self._run, self._run.last.settings.data.val)
        return evaluate(self, images, labels)

    def predict(self, images: Images) -> Floats:
        """Return logits float32 [n, classes] of images."""
        return predict(self, images)


@dataclass(frozen=True)
class FinishedStage:
    """Represent a stage of a finished run."""

    _stage: StageRun

    @property
    def name(self) -> str:
        return self._stage.name

    @property
    def settings(self) -> Stage:
        """Return its block of the recipe, with every default filled in."""
        return self._stage.settings

    @property
    def folder(self) -> Path:
        return self._stage.folder

    @property
    def scores(self) -> StageScores:
        """Return its scores on its validation images, and what it took."""
        return self._stage.record()

    def network(self, peer: str | None = None) -> nn.Layer:
        """Load the network that it ended with anew, in evaluation mode, or one that it trained beside that.

        Raises RecipeError where there is no peer of this name.
        """
        from ssld.distill.networks import trained_network, trained_peer

        peers = self.settings.peers
        if peer is not None and peer not in peers:
            hint = did_you_mean(peer, peers) or (f"; its peers: {', '.join(peers)}" if peers else "; it has none")
            raise RecipeError(f"{self.folder}: no peer named {peer!r}{hint}")
        return trained_network(self._stage) if peer is None else trained_peer(self._stage, peer)


@dataclass(frozen=True)
class Distilled:
    """Hold what `distill` made.

    student: a trained copy of the network that was handed over, in evaluation mode. scores: its top-1, top-5 and cross
    entropy on the validation images, and what the training took. history: what was logged while it trained. settings:
    of the training, every default filled in. val: the validation images. folder: where it is kept, if anywhere.
    """

    student: nn.Layer = field(repr=False)
    scores: StageScores
    history: Sequence[Record] = field(repr=False)
    settings: Stage = field(repr=False)
    val: ImageSource = field(repr=False)
    folder: Path | None
    device: Device = field(default="auto", repr=False)

    def evaluate(self, images: Images | None = None, labels: Labels | None = None) -> Evaluation:
        """Evaluate the student on labelled images, by default on the validation images of the training."""
        return evaluate(self, self.val if images is None else images, labels)

    def predict(self, images: Images) -> Floats:
        """Return logits float32 [n, classes] of images."""
        return predict(self, images)

    def export(
        self, folder: str | Path, *, options: Settings | None = None, class_names: Sequence[str] | None = None
    ) -> dict[str, ExportedFile]:
        """Write the student as files that passed the gate on validation images, see `export`."""
        return export(self, folder, options=options, class_names=class_names)


Network: TypeAlias = "nn.Layer | str | FinishedRun | Distilled"
"""A network of Paddle's layers; the name of a published training; the student of a run or of a training."""


def distill(
    student: Network,
    teacher: Network | Mapping[str, Network] | None,
    train: Images,
    val: Images,
    *,
    loss: Loss | Mapping[str, GivenLoss],
    epochs: float,
    lr: float,
    size: int | None = None,
    classes: int | None = None,
    data: Settings | None = None,
    optim: Settings | None = None,
    stage: Settings | None = None,
    teacher_input: Settings | None = None,
    norm: Literal["batch", "running"] = "batch",
    combine: Settings | None = None,
    gate: int = 2000,
    seed: int = 0,
    folder: str | Path | None = None,
    device: Device = "auto",
) -> Distilled:
    """Train a student as one stage of a recipe does, with networks and images that are Python objects.

    student: a network of Paddle's layers, float32 [N, 3, size, size] -> logits [N, classes], or the student of a run or
    of an earlier training, which goes on from its weights; a copy is trained, so the network itself stays as it is. A
    name of `list_models` is a network with fresh weights, for which `classes` says how many classes there are, by
    default as many as the teacher has. teacher: the same, but a name means the published weights in the weights folder;
    several by name, which then speak as one as `combine` says; None where no loss learns from a teacher.

    train, val: see `ssld.data.given.Images`, most simply (images, labels) with uint8 [n, H, W, 3] and whole numbers,
    None or -1 where there is no label. Every validation image needs a label.

    loss: name -> options as in a recipe, {"dkd": {"beta": 2.0}, "ce": {}}, or a `Loss` object; one such object alone is
    the only term. In a mapping `kind` may be a `Loss` object too: {"mine": {"kind": Hinge(), "weight": 0.5}}.

    size: side of the training images in pixels, by default the `in_size` of the student. data, optim, stage: further
    keys of these blocks of a recipe (docs/recipes.md): data={"batch": 64, "augment": {"flip": 0}}, optim={"ema": 0.99},
    stage={"train": "head"}. teacher_input: size, mean and std of the images that a teacher of Paddle's layers expects,
    by default those of the student. norm: the statistics that the batch norms of teachers use. gate: so many labelled
    validation images check each teacher before the first step; 0 is off.

    folder: where checkpoints and the result are kept. The same call goes on after a stop and ends with the same
    weights; a finished training is loaded. Arguments, images and networks must be the same, else RunError says what
    changed.

    Raises RecipeError, DataError, WeightsError or RunError, one line each.
    """
    from ssld.distill.objects import Training, student_copy, train_in

    ranges.check(ranges.Classes | None, classes, "classes")
    ranges.check(ranges.CountOrNone, gate, "gate")
    ranges.check(ranges.Seed, seed, "seed")
    runtime = _runtime(device)
    side = _size(student, size)
    blocks = {
        "data": {"size": side, **_extra("data", data, _OF_IMAGES)},
        "optim": {"lr": lr, **_extra("optim", optim, ("lr",))},
        "loss": _terms(loss),
    }
    settings = _settings({"epochs": epochs, **blocks, **_extra("stage", stage, _OF_STAGE)})
    teachers = _teachers(teacher, settings.data, teacher_input, norm)
    if isinstance(student, str):
        made = student_copy(_fresh(student, classes or _classes_of(teachers), side, seed), side)
    else:
        made = student_copy(_layer("student", student), side)
    if classes is not None and made.num_classes != classes:
        raise RecipeError(f"classes: {classes}, and the student gives logits of {made.num_classes}; leave it out")
    training = Training(
        student=made,
        teachers=teachers,
        combine=_combine(combine, tuple(teachers)),
        settings=settings,
        train=_source(train, made.num_classes, "train"),
        val=_source(val, made.num_classes, "val"),
        classes=made.num_classes,
        seed=seed,
        gate=gate,
        runtime=runtime,
    )
    kept = None if folder is None else Path(folder)
    scores, history = train_in(training, kept)
    made.eval()
    return Distilled(made, scores, tuple(history), settings, training.val, kept, device)


def evaluate(
    network: Network,
    images: Images,
    labels: Labels | None = None,
    *,
    size: int | None = None,
    data: Settings | None = None,
    device: Device = "auto",
) -> Evaluation:
    """Evaluate a network on labelled images, of which it sees the centre as in the evaluation of a recipe.

    The short side is brought to `resize` pixels, and the centre is cut out.
    images, labels: see `ssld.data.given.Images`. size: side of the crop in pixels, by default the `in_size` of a
    network of Paddle's layers; data: further keys of that block of a recipe, such as mean, std and eval_resize. A run,
    a training and a published name know how their images are shown, and take neither. Raises DataError for an image
    without a label or with one that is no class.
    """
    from ssld.distill import metrics
    from ssld.distill.images import check_labelled
    from ssld.distill.objects import logits_of

    shown = _shown(network, size, data, device)
    source = _source(images, shown.classes, "images", labels)
    check_labelled(source, "every image needs one here")
    logits, known = logits_of(shown.network, shown.look, source, shown.runtime)
    found = metrics.summary(metrics.score(logits, known), shown.classes)
    return Evaluation(
        top1=found["top1"],
        top5=found["top5"],
        nll=found["nll"],
        ece=found["ece"],
        per_class=tuple(found["per_class"]["top1"]),
        logits=logits,
        labels=known,
    )


def predict(
    network: Network, images: Images, *, size: int | None = None, data: Settings | None = None, device: Device = "auto"
) -> Floats:
    """Return logits float32 [n, classes] of images, in their order. All else is as in `evaluate`, without labels."""
    from ssld.distill.objects import logits_of

    shown = _shown(network, size, data, device)
    return logits_of(shown.network, shown.look, _source(images, shown.classes, "images"), shown.runtime)[0]


def export(
    network: Network,
    folder: str | Path,
    images: Images | None = None,
    labels: Labels | None = None,
    *,
    options: Settings | None = None,
    class_names: Sequence[str] | None = None,
    size: int | None = None,
    data: Settings | None = None,
) -> dict[str, ExportedFile]:
    """Write a network as files that other programs run, once the gate has found that they say what the network says.

    folder: a new one, or one with an earlier export. images, labels: what the gate compares them on; a run and a
    training take their validation images. options: keys of the block `export` of a recipe, by default those of the run,
    such as {"formats": ["onnx"], "preprocess": True}. class_names: one a class, for contract.json. size, data: as in
    `evaluate`.

    Returns format -> what the gate measured. Raises DeployError where a file differs from the network, RecipeError for
    an option that is none.
    """
    if isinstance(network, FinishedRun):
        if images is not None or class_names is not None:
            raise RecipeError("export: a run has its own validation images and class names; leave them out")
        return _export_run(network, Path(folder), options)
    from ssld.distill.teacher_weights import weights_digest
    from ssld.models import called
    from ssld.result import release_network

    shown = _shown(network, size, data, "auto")
    given = network.val if images is None and isinstance(network, Distilled) else images
    if given is None:
        raise RecipeError("export: no images to compare the files with; give images as the network sees them")
    source = _source(given, shown.classes, "images", labels)
    if class_names is not None and len(class_names) != shown.classes:
        raise RecipeError(f"export: {len(class_names)} class_names for {shown.classes} classes; give one for each")
    written = parse.build(Export, dict(options or {}), "export: options")
    names = None if class_names is None else [*class_names]
    arch = called(shown.network)
    about = {"name": arch, "arch": arch, "classes": shown.classes, "class_names": names}
    about |= {"digest": weights_digest(shown.network)}
    results = release_network(shown.network, Path(folder), shown.look, source, written, about)
    return cast("dict[str, ExportedFile]", results)


def _export_run(run: FinishedRun, folder: Path, options: Settings | None) -> dict[str, ExportedFile]:
    """Export the student of a finished run through the gate, on the validation images of the run."""
    from ssld.result import release_student

    written = parse.build(Export, {**plain(run.plan.export), **(options or {})}, "export: options")
    changed = replace(run._run, plan=replace(run.plan, export=written))
    return cast("dict[str, ExportedFile]", release_student(changed, folder, dict(run.result)))


@dataclass(frozen=True)
class _Shown:
    """Hold a network, and how images are shown to it."""

    network: nn.Layer
    classes: int
    look: Data
    runtime: Runtime


def _shown(network: Network, size: int | None, data: Settings | None, device: Device) -> _Shown:
    from ssld.models import classes_of

    runtime = _runtime(device)
    if isinstance(network, (FinishedRun, Distilled, str)) and (size is not None or data is not None):
        raise RecipeError("size, data: this network knows how its images are shown; leave them out")
    if isinstance(network, FinishedRun):
        layer, look = network.student(), network.plan.stages[network.plan.last].data
    elif isinstance(network, Distilled):
        layer, look = network.student, network.settings.data
    elif isinstance(network, str):
        layer, look = _published(network, _look({}, "data"))
    else:
        keys = {"size": _size(network, size), **_extra("data", data, _OF_IMAGES)}
        layer, look = _layer("network", network), _look(keys, "data")
    return _Shown(layer, classes_of(layer, "network", look.crop), look, runtime)


def _look(keys: Settings, where: str) -> Data:
    """Return a block `data` of a recipe for images that are no list files."""
    return parse.build(Data, {"train": ["train"], "val": "val", **keys}, where)


_OF_IMAGES = ("train", "val", "test", "size")
_OF_RECIPE = ("network", "init", "labels", "quantize", "teacher", "teachers", "peers")  # they belong to several stages
_OF_STAGE = ("epochs", "data", "loss", "optim", "combine", *_OF_RECIPE)
"""Keys of these blocks that `distill` does not take in them."""


def _extra(block: str, keys: Settings | None, taken: Sequence[str]) -> Settings:
    """Return further keys of a block. Raises RecipeError for one that an argument says."""
    for key in taken:
        if key in (keys or {}):
            raise RecipeError(f"{block}: the key {key!r} does not belong here; see the arguments of ssld.distill")
    return keys or {}


def _settings(keys: Mapping[str, object]) -> Stage:
    """Return the stage of these keys, which are checked as those of a recipe."""
    data = {"train": ["train"], "val": "val", **cast(Settings, keys["data"])}
    stage = parse.build(Stage, {**keys, "data": data}, "distill")
    check.check_numbers(stage, "distill")
    check.check_settings(stage, "distill")
    return stage


def _terms(loss: Loss | Mapping[str, GivenLoss]) -> dict[str, Term]:
    """Return the terms of the sum. Raises RecipeError, which begins with `loss`, for what is none."""
    given = {snake_case(type(loss).__name__): loss} if isinstance(loss, Loss) else loss
    if not isinstance(given, Mapping):
        kind = type(given).__name__
        raise RecipeError(f"loss: a {kind} is no loss; give a mapping such as {{'ssld': {{}}}}, or a Loss object")
    try:
        return build_terms({name: _own_term(str(name), term) for name, term in given.items()})
    except RecipeError as error:
        raise RecipeError(f"loss{error}") from None


def _own_term(name: str, given: GivenLoss) -> Term | GivenLoss:
    """Return the term of a `Loss` object. Whatever else is given stays what it is."""
    options = given if isinstance(given, Mapping) else {}
    loss = options.get("kind") if isinstance(given, Mapping) else given
    if not isinstance(loss, Loss):
        return given
    cls = type(loss)
    if "__dataclass_fields__" not in vars(cls):
        raise RecipeError(f".{name}: class {cls.__name__} is no dataclass; write @dataclass(frozen=True) above it")
    for key in options:
        if key not in OWN:
            raise RecipeError(f".{name}: a Loss object has its options; give {key} to {cls.__name__}(...)")
    known = {made: kind for kind, made in built_in().items()}
    return term_of(name, known.get(cls, snake_case(cls.__name__)), loss, options)


def _combine(keys: Settings | None, names: tuple[str, ...]) -> Combine:
    combine = parse.build(Combine, dict(keys or {}), "combine")
    check_combine(combine, names, "combine")
    return combine


def _teachers(
    given: Network | Mapping[str, Network] | None, data: Data, look: Settings | None, norm: Literal["batch", "running"]
) -> dict[str, Teacher]:
    """Return the teachers by name, each with the images that it expects."""
    from ssld.distill.teachers import Teacher

    if given is None:
        return {}
    named = given if isinstance(given, Mapping) else {TEACHER: given}
    if not named:
        raise RecipeError("teacher: no network in this mapping; give one, or teacher=None")
    found = {}
    for name, network in named.items():
        check_name(str(name), "teacher")
        if isinstance(network, str):
            layer, shown = _published(network, data)
        elif isinstance(network, FinishedRun):
            layer, shown = network.student(), _as_trained(data, network.plan.stages[network.plan.last].data)
        elif isinstance(network, Distilled):
            layer, shown = network.student, _as_trained(data, network.settings.data)
        else:
            layer, shown = _layer(name, network), _teacher_look(data, look)
        found[name] = Teacher(name, layer, norm, "eager", shown)
    return found


def _teacher_look(data: Data, keys: Settings | None) -> Data:
    """Return images as a teacher of Paddle's layers expects them, with the border of the student cut off."""
    for key in keys or {}:
        if key not in ("size", "mean", "std"):
            raise RecipeError(f"teacher_input: no key {key!r}; it has size, mean and std")
    from ssld.distill.images import shown_as

    look = _look({"size": data.crop, "mean": list(data.mean), "std": list(data.std), **(keys or {})}, "teacher_input")
    resize = round(look.size * data.resize / data.crop)
    shown = cards.Input(size=look.size, resize=resize, mean=look.mean, std=look.std, background=data.background)
    return shown_as(data, shown)


def _as_trained(data: Data, look: Data) -> Data:
    """Return the images of `data`, shown as those that a network was evaluated on: `look`."""
    return replace(look, train=data.train, val=data.val, size=look.crop, eval_batch=data.eval_batch)


def _published(name: str, data: Data) -> tuple[nn.Layer, Data]:
    """Return the network of a published name with its weights of the weights folder, and how its images are shown."""
    from ssld.distill.images import shown_as
    from ssld.distill.pretrained import published_file
    from ssld.published import network_with_weights

    network, given = network_with_weights(name, published_file(name, name))
    network.eval()
    return network, shown_as(data, given)


def _classes_of(teachers: Mapping[str, Teacher]) -> int:
    from ssld.models import classes_of

    for name, teacher in teachers.items():
        return classes_of(teacher.network, name, teacher.look.crop)
    raise RecipeError("classes: a student that is a name needs it; give the number of classes")


def _fresh(name: str, classes: int, size: int, seed: int) -> nn.Layer:
    """Make a network of a name with fresh weights, which are the same for a seed in every process."""
    from ssld.runtime import seed_networks

    seed_networks(seed, "init", "student")
    return create_model(name, num_classes=classes, in_size=size)


def _layer(where: str, network: Network) -> nn.Layer:
    from paddle import nn

    if isinstance(network, FinishedRun):
        return network.student()
    layer = network.student if isinstance(network, Distilled) else network
    if not isinstance(layer, nn.Layer):
        kind = type(layer).__name__
        raise RecipeError(f"{where}: a {kind} is no network; give a paddle.nn.Layer, a name of list_models() or a run")
    return layer


def _size(network: Network, size: int | None) -> int:
    """Return the side of the images in pixels: the one that is given, else what the network says."""
    side = _own_size(network) if size is None else size
    if side is None:
        raise RecipeError("size: the network does not say the side of its images; give it in pixels")
    ranges.check(ranges.Pixels, side, "size")
    return int(side)


def _own_size(network: Network) -> int | None:
    if isinstance(network, FinishedRun):
        return network.plan.stages[network.plan.last].data.size
    if isinstance(network, Distilled):
        return network.settings.data.size
    if isinstance(network, str):
        return cards.find_named(network).input.size
    own: int | None = getattr(network, "in_size", None)
    return own


def _source(images: Images, classes: int, name: str, labels: Labels | None = None) -> ImageSource:
    from ssld.data.given import source_of

    return source_of(images, labels, classes=classes, name=name)


def _runtime(device: Device) -> Runtime:
    """Return this process on its device. Raises RunError where it is one of several ranks."""
    from ssld.runtime import start

    runtime = start(device)
    if runtime.world > 1:
        raise RunError("ssld: several ranks share a recipe, not a call from Python; use `ssld run --ranks N`")
    return runtime
