"""Measure the latency of finished runs, exported folders and models of the zoo: `ssld bench`."""

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypedDict

from ssld import create_model, deploy
from ssld.config import cards, recipe
from ssld.config.run_folder import PLAN
from ssld.deploy import Row
from ssld.deploy import contract as contracts
from ssld.deploy.bench import bench as measure_rows
from ssld.deploy.bench import check_asked
from ssld.errors import DeployError, RunError
from ssld.files import check_target
from ssld.progress import note
from ssld.spec.choices import Span
from ssld.spec.formats import Precision

PICTURES = 64  # most images of a list that the span end-to-end takes


class Measured(TypedDict):
    """Hold the machine, and the rows of `deploy.bench.bench` as plain values."""

    machine: dict[str, Any]
    rows: list[dict[str, Any]]


def bench(
    *,
    target: Sequence[str],
    all_students: bool,
    engine: Sequence[str],
    precision: Sequence[Precision],
    batch_size: Sequence[int],
    image_size: Sequence[int] | None,
    threads: Sequence[int],
    span: Sequence[Span],
    images: str | None,
    warmup: int,
    repeats: int,
    quick: bool,
    csv: str | None,
) -> Measured:
    """Measure run folders, exported folders and models of the zoo, or `all_students`, a row for each combination.

    Models have fresh weights: speed does not depend on them. Without `image_size` each network is measured at the size
    it was exported for. `images` is a list file, for the span end-to-end; without it drawn images are taken. `quick`
    measures at most 50 repeats or a second a row, and no peak memory. With `csv` the rows are also written to this file
    as they come, and together with the machine to one of .json. It raises DeployError or RecipeError for a question
    that cannot be asked and, after the others were measured, for students that gave no rows.
    """
    if bool(target) == all_students:
        raise DeployError("bench: give networks (run folders, exports, model names) or --all-students")
    if csv and not Path(csv).absolute().parent.is_dir():
        raise DeployError(f"{csv}: there is no such folder; make it first: what was measured would be lost")
    if csv:
        for file in (Path(csv), Path(csv).with_suffix(".json")):
            check_target(file, DeployError, "choose another --csv: what was measured would be lost")
    if images and "end-to-end" not in span:
        raise DeployError("bench: --images are for end-to-end; add that to --span")
    check_asked(engine, precision, threads)
    question = _Question(
        engines=engine,
        precisions=precision,
        batch_sizes=batch_size,
        image_sizes=image_size,
        threads=threads,
        spans=span,
        images=images,
        warmup=warmup,
        repeats=repeats,
        quick=quick,
    )
    from ssld.deploy import machine

    facts = machine.describe()
    rows = _every_student(question, facts, csv) if all_students else _keep(_measure(target, question), facts, csv)
    exact = machine.sums_8_bits_exactly() or all(row.precision != "int8" for row in rows)
    for sentence in [*deploy.unsteady(rows), *facts["notes"], *([] if exact else [machine.SATURATES])]:
        note(f"bench: {sentence}")
    return {"machine": facts, "rows": [asdict(row) for row in rows]}


@dataclass(frozen=True, kw_only=True)
class _Question:
    """Say what is measured of each network, as `deploy.bench.bench` takes it."""

    engines: Sequence[str]
    precisions: Sequence[Precision]
    batch_sizes: Sequence[int]
    image_sizes: Sequence[int] | None
    threads: Sequence[int]
    spans: Sequence[Span]
    images: str | None
    warmup: int
    repeats: int
    quick: bool


def _every_student(question: _Question, facts: dict[str, Any], csv: str | None) -> list[Row]:
    """Measure every architecture of the zoo, one after the other.

    It raises DeployError, at the end, for those that gave no rows.
    """
    rows: list[Row] = []
    failed, archs = [], [name for name, card in cards.all_students().items() if card.published]
    for number, arch in enumerate(archs, 1):
        try:
            rows = _keep(rows + _measure([arch], question), facts, csv)
        except DeployError as error:
            failed.append(arch)
            note(str(error))
        note(f"bench: {number} of {len(archs)}, {arch}")
    if failed:
        what = f"{len(failed)} of {len(archs)} gave no rows: {', '.join(failed)}"
        raise DeployError(f"bench: {what}; see above why, the others are in the file of --csv if there is one")
    return rows


def _keep(rows: list[Row], facts: dict[str, Any], csv: str | None) -> list[Row]:
    """Write the rows where `csv` says, and with the machine beside that; return them."""
    if csv:
        deploy.write_csv(rows, csv)
        deploy.write_json(rows, facts, Path(csv).with_suffix(".json"))
    return rows


def _measure(targets: Sequence[str], question: _Question) -> list[Row]:
    """Measure networks against each other, and return their rows."""
    with tempfile.TemporaryDirectory(prefix="ssld-bench-") as scratch:
        networks: dict[str, Path] = {}
        for target in targets:
            label = target if Path(target).name in (*networks, "export") else Path(target).name
            networks[label] = _exported(target, Path(scratch), question)
        return measure_rows(
            networks,
            engines=question.engines,
            precisions=question.precisions,
            batch_sizes=question.batch_sizes,
            image_sizes=question.image_sizes,
            threads=question.threads,
            spans=question.spans,
            pictures=_pictures(question.images),
            warmup=question.warmup,
            repeats=question.repeats,
            quick=question.quick,
            memory=not question.quick,
        )


def _pictures(listed: str | None) -> list[Path]:
    """Return the first images of a list file, PICTURES at most; [] without one: drawn images are taken."""
    if listed is None:
        return []
    from ssld.data import read_list

    files = read_list(Path(listed), Path(listed).parent)
    return [Path(files.path(number)) for number in range(min(PICTURES, len(files)))]


def _exported(target: str, scratch: Path, question: _Question) -> Path:
    """Return the folder of a target's export; a model is written with fresh weights in the formats that are needed."""
    folder = Path(target)
    if (folder / "contract.json").is_file():
        return folder
    if (folder / PLAN).exists():
        contracts.read_of(folder / "export", recipe.of_finished_run(folder).digest)
        return folder / "export"
    if folder.is_dir():
        raise RunError(
            f"{target}: neither a run nor an export; give a run folder, an exported folder or a model's name"
        )
    import numpy as np

    formats = deploy.formats_for(question.engines, question.precisions)
    network = create_model(target, in_size=question.image_sizes[0] if question.image_sizes else None)
    size = network.in_size
    spec = {
        "size": size,
        "mean": list(recipe.IMAGENET_MEAN),
        "std": list(recipe.IMAGENET_STD),
        "resize": round(size * 256 / 224),
    }
    contract = {"arch": network.arch, "classes": network.num_classes, "digest": "fresh weights", "input": spec}
    noise = np.random.default_rng(0).standard_normal((8, 3, size, size)).astype("float32")
    deploy.export_model(network, scratch / target, name=target, contract=contract, formats=formats, calibration=noise)
    return scratch / target
