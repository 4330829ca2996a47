"""The sections of a report page: each turns the part of a run that it shows into HTML."""

import html
from typing import Any

from ssld.report import figures, samples
from ssld.report.headline import megabytes, no_baseline, percent, points, speed, training_word
from ssld.report.markup import Columns, card, duration, figure, number, section, table, tile

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
    """Title and headline numbers."""
    parts = {"teacher": result.get("teacher"), "baseline": result.get("baseline"), "bench": rows}
    missing = [name for name, part in parts.items() if not part]
    title = (result.get("title") or result["recipe"]).replace(" -> ", " → ")
    reason = no_baseline(result)
    made = f"seed {result['seed']} · {duration(result['wall_seconds'])} on {result['hardware']}"
    sub = f"{result['recipe']}{claim(result)} · {made}"
    return (
        f'<h1>{html.escape(title)}</h1>\n<p class="sub">{html.escape(sub)}</p>\n'
        + (SMOKE if result.get("scope") == "smoke" else "")
        + f'<div class="grid tiles">{"".join(score_tiles(result) + speed_tiles(rows))}</div>\n'
        + (f'<p class="note">This run has no {" and no ".join(missing)}.</p>\n' if missing else "")
        + (f'<p class="note">{html.escape(reason[0].upper() + reason[1:])}.</p>\n' if reason else "")
    )


def claim(result: dict[str, Any]) -> str:
    """The published top-1 that the recipe should reach, and whether it is known to be of this run's images."""
    if result.get("claim") is None:
        return ""
    other = (
        "" if (result.get("images") or {}).get("imagenet") else " (nothing shows that it is of these validation images)"
    )
    return f", published {percent(result['claim'])}{other}"


def score_tiles(result: dict[str, Any]) -> list[str]:
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
    return tiles


def _published(network: dict[str, Any]) -> str:
    return "" if network.get("source", "measured") == "measured" else ", published"


def speed_tiles(rows: list[dict[str, Any]]) -> list[str]:
    found = speed(rows)
    if not found:
        return []
    smaller = f"teacher {megabytes(found.teacher_bytes)}" if found.teacher_bytes else "exported model"
    size = tile("size", megabytes(found.student_bytes), smaller)
    if not found.ratio:
        return [tile("latency", f"{found.student_ms:.2f} ms", f"{found.engine}, batch\u00a0{found.batch}"), size]
    times = f"{found.teacher_ms:.2f} → {found.student_ms:.2f} ms, {found.engine}, batch\u00a0{found.batch}"
    return [tile("speed-up", f"{found.ratio:.1f}\u00a0x", times), size]


def results(result: dict[str, Any]) -> str:
    """Scores, a row a stage."""
    rows = [{"name": name, **stage} for name, stage in result["stages"].items()]
    return section("Stages", "Scores on the validation images after each stage.", card(table(STAGE_COLUMNS, rows)))


def glance(
    result: dict[str, Any], records: list[dict[str, Any]], rows: list[dict[str, Any]], plan: dict[str, Any]
) -> str:
    """The two figures that hold the result: accuracy over steps, accuracy against latency."""
    shown = ""
    if records:
        after = {name: stage.get("init", "") for name, stage in plan.get("stages", {}).items()}
        drawn = figures.accuracy(records, result, after, colours_of(result, plan))
        shown = figure("Validation accuracy", "A stage begins where the stage it continues ended.", drawn)
    if points_drawn := figures.latency(rows, result):
        text = "Up and left is better."
        text += " The baseline is the student's architecture." if result.get("baseline") else ""
        shown += figure("Accuracy against latency", text, points_drawn)
    return f'<div class="grid wide first">{shown}</div>\n' if shown else ""


def colours_of(result: dict[str, Any], plan: dict[str, Any]) -> dict[str, str]:
    return figures.stage_colours(result["stages"], plan.get("baseline"))


def training(result: dict[str, Any], records: list[dict[str, Any]], plan: dict[str, Any]) -> str:
    """Loss and accuracy curves, a figure a stage."""
    if not records:
        return section("Training", "This run has no metrics.jsonl: no curves.", "")
    colours, panels, lost = colours_of(result, plan), [], []
    for name, stage in result["stages"].items():
        if of_stage := [record for record in records if record["stage"] == name]:
            text = f"{stage['network']}, {number(stage.get('epochs'), 'g')} epochs"
            drawn = figures.curves(of_stage, colours[name])
            panels.append(figure(name, text, drawn, dot=figures.VARIABLES[colours[name]]))
        else:
            lost.append(name)
    missing = f"No curves of {', '.join(lost)}: taken over from another run."
    note = f'<p class="note">{html.escape(missing)}</p>' if lost else ""
    how = "Thin: single batches. Thick: their moving average. Points: evaluations on the validation images."
    return section("Training", how, f'<div class="grid">{"".join(panels)}</div>{note}')


def speeds(result: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """The bench, row by row."""
    if not rows:
        return section("Speed", "This run was not benchmarked.", "")
    how = f"The network alone, milliseconds a batch, on {result['hardware']}."
    return section("Speed", how, card(table(BENCH_COLUMNS, rows)))


def agreement(result: dict[str, Any], names: list[str]) -> str:
    found = result.get("agreement")
    if not found:
        return section("Agreement with the teacher", "Not measured: this run has no teacher of its own.", "")
    counts = [found[key] for key in ("both_right", "only_student", "only_teacher", "both_wrong")]
    cells = [_cell(count, sum(counts)) for count in counts]
    square = (
        '<div class="square"><div></div><div>teacher right</div><div>teacher wrong</div>'
        f"<div>student right</div>{cells[0]}{cells[1]}<div>student wrong</div>{cells[2]}{cells[3]}</div>"
    )
    shares = found["per_class"]
    bars = figures.per_class(
        shares, names_for(shares, names), "same top-1 as the teacher, %", "Agreement with the teacher, by class"
    )
    among = f", the teacher's among the student's first five for {found['top5']:.2f} %" if "top5" in found else ""
    how = (
        f"The same class for {found['top1']:.2f} % of the images{among}; mean KL(teacher ‖ student) "
        f"{number(found['kl'], '.4f')} nats."
    )
    both = figure("Who is right", "Validation images.", square)
    both += figure("Same class as the teacher", which_classes(shares), bars)
    return section("Agreement with the teacher", how, f'<div class="grid wide">{both}</div>')


def which_classes(shares: list[Any]) -> str:
    """What a figure by class shows of them."""
    many = len(shares) > figures.CLASSES
    return f"The lowest {figures.CLASSES} of {len(shares)} classes." if many else "By the true class."


def names_for(shares: list[Any], names: list[str]) -> list[str]:
    """The names of the classes, their numbers where the run has kept no such names."""
    return names if len(names) == len(shares) else [str(index) for index in range(len(shares))]


def _cell(count: int, total: int) -> str:
    share = count / total if total else 0.0
    tint = f'<i style="opacity:{0.06 + 0.34 * share:.3f}"></i>'
    return f'<div class="cell">{tint}<b>{count:,}</b><span>{100 * share:.1f} %</span></div>'


def pictures(held: dict[str, Any]) -> str:
    if not held:
        return section("Sample predictions", "This run kept no samples.", "")
    how = "The best three classes of each network."
    if set(held) & {"teacher", "baseline"}:
        how += " First where the student is right and the baseline is not, or where the networks differ."
    return section("Sample predictions", how, f'<div class="grid">{samples.cards(held)}</div>')


def export(result: dict[str, Any]) -> str:
    """The gate, a row a format."""
    rows = [{"name": name, **gate} for name, gate in (result.get("export") or {}).items()]
    if not rows:
        return section("Export", "This run was not exported.", "")
    how = "Every exported file was run on real images and compared with the trained network."
    return section("Export", how, card(table(EXPORT_COLUMNS, rows)))


def about(result: dict[str, Any]) -> str:
    rows = [
        ["digest", result["digest"]],
        ["scope", result.get("scope", "full")],
        ["seed", str(result["seed"])],
        ["hardware", result["hardware"]],
    ]
    for kind in ("student", "teacher"):
        if held := result.get(kind):
            macs = number(held["macs"] / 1e6 if held.get("macs") is not None else None, ",.1f")
            rows.append([kind, f"{held['arch']}, {number(held.get('params'), ',')} parameters, {macs} M multiply-adds"])
    rows += [[name, str(version)] for name, version in result.get("versions", {}).items()]
    lines = "".join(
        f'<tr><td>{html.escape(name)}</td><td style="white-space:normal"><code>{html.escape(text)}</code></td></tr>'
        for name, text in rows
    )
    return section("Made with", "", card(f"<table>{lines}</table>"))


def plan_text(text: str) -> str:
    if not text:
        return section("The plan", "This run folder has no plan.yaml.", "")
    summary = "<summary>every key of the recipe, defaults filled in</summary>"
    return section("The plan", "", card(f"<details>{summary}<pre>{html.escape(text)}</pre></details>"))
