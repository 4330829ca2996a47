"""Fetch published weights, or import them as safetensors: `ssld weights`."""

import shlex
from typing import Any, Literal

from ssld.config import cards
from ssld.errors import UsageError
from ssld.paths import shelf
from ssld.published import fetch_published
from ssld.spec.revisions import Flavour, Revision


def weights(
    *,
    action: Literal["fetch", "import"],
    what: str,
    out: str | None,
    flavour: Flavour | None,
    mirror: str | None,
    offline: bool,
    arch: str | None,
    revision: Revision | None,
    force: bool,
) -> dict[str, Any]:
    """Fetch the weights of the published training `what`, or import the weights file or folder `what`.

    Fetch: download what the card names, or take it from `mirror`, and check it; `offline` uses no network. It returns
    the file with its facts, and the command that imports it (`next`). Import: read weights of any `flavour` as those of
    `arch`, strictly, and write them as safetensors; `force` replaces another file at the target. It returns what was
    read and written. It raises UsageError for an option of the other action, RecipeError for an unknown name,
    WeightsError for a file that cannot be had or does not fit.
    """
    of_fetch: dict[str, object] = {"flavour": flavour, "mirror": mirror, "offline": offline}
    of_import: dict[str, object] = {"arch": arch, "revision": revision, "force": force}
    other_action, excluded = ("import", of_import) if action == "fetch" else ("fetch", of_fetch)
    for option, value in excluded.items():
        if value:
            raise UsageError(f"weights {action}: --{option} belongs to `ssld weights {other_action}`")
    if action == "fetch":
        return _fetch(what, flavour, mirror, offline, out)
    if not arch:
        raise UsageError("weights import: --arch NAME is required; `ssld list students` shows the names")
    from ssld.weights import convert

    return convert(what, arch, out, revision, force)


def _fetch(what: str, flavour: Flavour | None, mirror: str | None, offline: bool, out: str | None) -> dict[str, Any]:
    """Download what a card names, or take it from a mirror, and check it; say how to go on."""
    from ssld.progress import note

    arch, published = cards.find_weights(what, flavour)
    teacher = cards.all_teachers().get(what)
    if teacher and teacher.weights.url != published.url:
        note(f"the teacher {what} is another file: `ssld weights fetch {shelf('teachers') / what}.yaml`")
    fetched = fetch_published(what, flavour, mirror, offline, out)
    model = cards.models().get(what)
    revision = " --revision 1.x" if model and model.revision == "1.x" else ""
    return {**fetched, "next": f"ssld weights import {shlex.quote(fetched['file'])} --arch {arch}{revision}"}
