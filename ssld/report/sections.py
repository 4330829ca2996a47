"""This module makes the sections of a run's page: each function turns the part of a run that it shows into HTML."""

from typing import Any

from ssld.report import figures, samples
from ssld.report.headline import (
    NOT_STEADY,
    baseline_remark,
    is_unsteady,
    megabytes,
    on_other_images,
    percent,
    points,
    speed,
    training_word,
    warnings,
)
from ssld.report.markup import Columns, card, duration, figure, number, section, table, tile
from ssld.spec.printable import in_markup, in_markup_lines

STAGE_COLUMNS: Columns = {
    "stage": ("name", str),
    "network": ("network", str),
    "top-1, %": ("top1", ".2f"),
    "top-5, %": ("top5", ".2f"),
    "loss": ("loss", ".3f"),
    "epochs": ("epochs", "g"),
    "steps": ("steps", ","),
    "images": ("images", ","),
    "size, px": ("size", "d"),
    "time": ("seconds", duration),
}
BENCH_COLUMNS: Columns = {
    "network": ("network", str),
    "engine": ("engine", str),
    "precision": ("precision", str),
    "batch": ("batch", "d"),
    "size, px": ("size", "d"),
    "threads": ("threads", "d"),
    "repeats": ("repeats", ","),
    "mean, ms": ("mean_ms", ".3f"),
    "p50, ms": ("p50_ms", ".3f"),
    "p90, ms": ("p90_ms", ".3f"),
    "p99, ms": ("p99_ms", ".3f"),
    "images/s": ("images_per_second", ",.0f"),
    "model": ("model_bytes", megabytes),
    "drift": ("drift", "+.0%"),
    "spread": ("spread", ".0%"),
    "steady": ("steady", lambda text: {"True": "yes", "False": "no"}.get(str(text), "-")),
}
EXPORT_COLUMNS: Columns = {
    "format": ("name", str),
    "file": ("file", str),
    "bytes": ("bytes", ","),
    "sha256": ("sha256", lambda text: text[:12]),
    "max |diff| of logits": ("max_abs_diff", ".2e"),
    "bound": ("bound", ".2e"),
    "top-1, %": ("top1", ".2f"),
    "top-1 of the model, %": ("top1_model", ".2f"),
}
SMOKE = '<p class="warn">A smoke run, of a few steps on fake images: its numbers mean nothing.</p>\n'


def header(result: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """Show title and headline numbers."""
    parts = {"teacher": result.get("teacher"), "baseline": result.get("baseline"), "bench": rows}
    missing = [name for name, part in parts.items() if not part]
    title = (result.get("title") or result["recipe"]).replace(" -> ", " → ")
    reason = baseline_remark(result)
    origin = f"seed {result['seed']} · {duration(result['wall_seconds'])} on {result['hardware']}"
    sub = f"{result['recipe']}{claim(result)} · {origin}"
    return (
        f'<h1>{in_markup(title)}</h1>\n<p class="sub">{in_markup(sub)}</p>\n'
        + (SMOKE if result.get("scope") == "smoke" else "")
        + f'<div class="grid tiles">{"".join(score_tiles(result) + speed_tiles(rows))}</div>\n'
        + (f'<p class="note">This run has no {" and no ".join(missing)}.</p>\n' if missing else "")
        + (f'<p class="note">{in_markup(reason[0].upper() + reason[1:])}.</p>\n' if reason else "")
        + "".join(f'<p class="warn">{in_markup(line[0].upper() + line[1:])}.</p>\n' for line in warnings(result))
    )


def claim(result: dict[str, Any]) -> str:
    """Return the published top-1 that the recipe should reach, and whether it is known to be of this run's images."""
    if result.get("claim") is None:
        return ""
    other = (
        "" if (result.get("images") or {}).get("imagenet") else " (nothing shows that it is of these validation images)"
    )
    return f", published {percent(result['claim'])}{other}"


def score_tiles(result: dict[str, Any]) -> list[str]:
    """Show top-1 of teacher, baseline and student, the gain, and where there was a test what it says."""
    teacher, baseline = result.get("teacher"), result.get("baseline")
    tiles = []
    if teacher:
        tiles.append(tile("teacher", percent(teacher.get("top1")), teacher["arch"] + _published(teacher)))
    if baseline:
        stage = (result.get("plan") or {}).get("baseline")
        how = "the same network" + (f", stage {stage}" if stage else "") + _published(baseline)
        tiles.append(tile("baseline", percent(baseline["top1"]), how))
    tiles.append(tile(training_word(result), percent(result["top1"]), result["student"]["arch"], main=True))
    if result.get("gain") is not None:
        tiles.append(tile("gain", points(result["gain"]), "points of top-1, one seed", main=True))
    if "test_top1" in result:
        parts = {"teacher": teacher or {}, "baseline": baseline or {}}
        others = [f"{name} {percent(part['test_top1'])}" for name, part in parts.items() if "test_top1" in part]
        shown = f"{result['test']['images']:,} images, shown once after the training"
        tiles.append(tile("test", percent(result["test_top1"]), "; ".join([shown, *others]), main=True))
    return tiles


def _published(network: dict[str, Any]) -> str:
    """Mark a number that is published, not measured."""
    return "" if network.get("source", "measured") == "measured" else ", published"


def speed_tiles(rows: list[dict[str, Any]]) -> list[str]:
    """Show speed-up and size."""
    speeds = speed(rows)
    if not speeds:
        return []
    smaller = f"teacher {megabytes(speeds.teacher_bytes)}" if speeds.teacher_bytes else "exported model"
    size = tile("size", megabytes(speeds.student_bytes), smaller)
    if not speeds.ratio:
        return [tile("latency", f"{speeds.student_ms:.2f} ms", f"{speeds.engine}, batch\u00a0{speeds.batch}"), size]
    times = f"{speeds.teacher_ms:.2f} → {speeds.student_ms:.2f} ms, {speeds.engine}, batch\u00a0{speeds.batch}"
    times += ", not steady" if speeds.unsteady else ""
    return [tile("speed-up", f"{speeds.ratio:.1f}\u00a0x", times), size]


def results(result: dict[str, Any]) -> str:
    """Show the scores, a row a stage, and below it a row for each network that the stage trained beside its own."""
    rows = []
    for name, stage in result["stages"].items():
        peers = stage.get("peers", {})
        rows += [{"name": name, **stage}, *({**stage, **peer, "name": f"{name}: {one}"} for one, peer in peers.items())]
    how = "Scores on the validation images after each stage."
    return section("Stages", how + _other_images(result), card(table(STAGE_COLUMNS, rows)))


def _other_images(result: dict[str, Any]) -> str:
    """Return a sentence for each stage whose accuracy is not that of the other stages' images."""
    return "".join(f" Those of {name} are others: {listed}." for name, listed in on_other_images(result).items())


def glance(
    result: dict[str, Any], records: list[dict[str, Any]], rows: list[dict[str, Any]], plan: dict[str, Any]
) -> str:
    """Show the two figures that hold the result: accuracy over steps, accuracy against latency."""
    figures_html = ""
    if records:
        after = {name: stage.get("init", "") for name, stage in plan.get("stages", {}).items()}
        drawing = figures.accuracy(records, result, after, colours_of(result, plan))
        how = "A stage begins where the stage it continues ended." + _other_images(result)
        figures_html = figure("Validation accuracy", how, drawing)
    if latency_drawing := figures.latency(rows, result):
        text = "Up and left is better."
        text += " The baseline is the student's architecture." if result.get("baseline") else ""
        figures_html += figure("Accuracy against latency", text, latency_drawing)
    return f'<div class="grid wide first">{figures_html}</div>\n' if figures_html else ""


def colours_of(result: dict[str, Any], plan: dict[str, Any]) -> dict[str, str]:
    """Return the colours of the stages."""
    return figures.stage_colours(result["stages"], plan.get("baseline"))


def training(result: dict[str, Any], records: list[dict[str, Any]], plan: dict[str, Any]) -> str:
    """Show loss and accuracy curves, a figure a stage."""
    if not records:
        return section("Training", "This run has no metrics.jsonl: no curves.", "")
    colours, panels, without_curves = colours_of(result, plan), [], []
    for name, stage in result["stages"].items():
        if of_stage := [record for record in records if record["stage"] == name]:
            text = f"{stage['network']}, {number(stage.get('epochs'), 'g')} epochs"
            drawing = figures.curves(of_stage, colours[name])
            panels.append(figure(name, text, drawing, dot=figures.VARIABLES[colours[name]]))
        else:
            without_curves.append(name)
    missing = f"No curves of {', '.join(without_curves)}: this run's metrics.jsonl does not hold them."
    note = f'<p class="note">{in_markup(missing)}</p>' if without_curves else ""
    how = "Thin: single batches. Thick: their moving average. Points: evaluations on the validation images."
    return section("Training", how, f'<div class="grid">{"".join(panels)}</div>{note}')


def speeds(result: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """Show the bench, row by row."""
    if not rows:
        return section("Speed", "This run was not benchmarked.", "")
    how = (
        f"The network alone, milliseconds a batch, on {result['hardware']}. Drift: the median of the last third of the "
        f"runs over that of the first, less 1. Spread: the distance of the quartiles over the median."
    )
    note = f'<p class="warn">{in_markup(NOT_STEADY)}</p>' if any(map(is_unsteady, rows)) else ""
    return section("Speed", how, note + card(table(BENCH_COLUMNS, rows)))


def agreement(result: dict[str, Any], names: list[str]) -> str:
    """Show how often student and teacher agree, in all and by class."""
    numbers = result.get("agreement")
    if not numbers:
        return section("Agreement with the teacher", "Not measured: this run has no teacher of its own.", "")
    counts = [numbers[key] for key in ("both_right", "only_student", "only_teacher", "both_wrong")]
    cells = [_cell(count, sum(counts)) for count in counts]
    square = (
        '<div class="square"><div></div><div>teacher right</div><div>teacher wrong</div>'
        f"<div>student right</div>{cells[0]}{cells[1]}<div>student wrong</div>{cells[2]}{cells[3]}</div>"
    )
    shares = numbers["per_class"]
    bars = figures.per_class(
        shares, names_for(shares, names), "same top-1 as the teacher, %", "Agreement with the teacher, by class"
    )
    among = f", the teacher's among the student's first five for {numbers['top5']:.2f} %" if "top5" in numbers else ""
    how = (
        f"The same class for {numbers['top1']:.2f} % of the images{among}; mean KL(teacher ‖ student) "
        f"{number(numbers['kl'], '.4f')} nats."
    )
    both = figure("Who is right", "Validation images.", square)
    both += figure("Same class as the teacher", which_classes(shares), bars)
    return section("Agreement with the teacher", how, f'<div class="grid wide">{both}</div>')


def which_classes(shares: list[Any]) -> str:
    """Say which classes a figure by class shows."""
    many = len(shares) > figures.CLASSES
    return f"The lowest {figures.CLASSES} of {len(shares)} classes." if many else "By the true class."


def names_for(shares: list[Any], names: list[str]) -> list[str]:
    """Return the names of the classes, or their numbers where the run has kept no such names."""
    return names if len(names) == len(shares) else [str(index) for index in range(len(shares))]


def _cell(count: int, total: int) -> str:
    """Return a cell of the square, the darker the larger its share."""
    share = count / total if total else 0.0
    tint = f'<i style="opacity:{0.06 + 0.34 * share:.3f}"></i>'
    return f'<div class="cell">{tint}<b>{count:,}</b><span>{100 * share:.1f} %</span></div>'


def pictures(arrays: dict[str, Any]) -> str:
    """Show sample predictions."""
    if not arrays:
        return section("Sample predictions", "This run kept no samples.", "")
    how = "The best three classes of each network."
    if set(arrays) & {"teacher", "baseline"}:
        how += " First where the student is right and the baseline is not, or where the networks differ."
    return section("Sample predictions", how, f'<div class="grid">{samples.cards(arrays)}</div>')


def export(result: dict[str, Any], contract: dict[str, Any]) -> str:
    """Show the numbers of the gate, a row a format.

    Where the run itself has no export, they are those of the export that was made since, whose contract that is.
    """
    how = "Every exported file was run on real images and compared with the trained network."
    gates, gate, why = result.get("export"), contract.get("gate"), result.get("failures", {}).get("export")
    if gate and not gates:
        gates = gate["formats"]
        before = "The export of the run failed." if why else "The run exported nothing."
        how = f"{before} This one was made since, {_within(gate.get('allowed') or {})}."
    rows = [{"name": name, **gate} for name, gate in (gates or {}).items()]
    if not rows:
        return section("Export", f"This run was not exported: {why}." if why else "This run was not exported.", "")
    return section("Export", how, card(table(EXPORT_COLUMNS, rows)))


def _within(allowed: dict[str, Any]) -> str:
    """Say in words within which thresholds an export passed the gate."""
    parts = [
        f"{precision} {limit['points']:g} points and "
        + ("what rounding explains" if limit["share"] is None else f"a share of {limit['share']:g}")
        for precision, limit in allowed.items()
    ]
    return f"within {', '.join(parts)}" if parts else "within thresholds that its contract does not say"


def about(result: dict[str, Any]) -> str:
    """Show what the run was made with: digest, seed, hardware, networks, versions."""
    rows = [
        ["digest", result["digest"]],
        ["scope", result.get("scope", "full")],
        ["seed", str(result["seed"])],
        ["hardware", result["hardware"]],
    ]
    for kind in ("student", "teacher"):
        if network := result.get(kind):
            macs = number(network["macs"] / 1e6 if network.get("macs") is not None else None, ",.1f")
            rows.append(
                [kind, f"{network['arch']}, {number(network.get('params'), ',')} parameters, {macs} M multiply-adds"]
            )
    rows += [[name, str(version)] for name, version in result.get("versions", {}).items()]
    lines = "".join(
        f'<tr><td>{in_markup(name)}</td><td style="white-space:normal"><code>{in_markup(text)}</code></td></tr>'
        for name, text in rows
    )
    return section("Made with", "", card(f"<table>{lines}</table>"))


def plan_text(text: str) -> str:
    """Show the plan, folded."""
    if not text:
        return section("The plan", "This run folder has no plan.yaml.", "")
    summary = "<summary>every key of the recipe, defaults filled in</summary>"
    return section("The plan", "", card(f"<details>{summary}<pre>{in_markup_lines(text)}</pre></details>"))
