"""Fetch the weights file of a published training by its name, and load the weights of a file into its network."""

import os
from pathlib import Path
from typing import Any

from ssld import create_model
from ssld.config import cards
from ssld.paths import weights_root
from ssld.spec.revisions import Flavour


def fetch_published(
    name: str, flavour: Flavour | None, mirror: str | None, offline: bool, out: str | None = None
) -> dict[str, Any]:
    """Fetch the weights that a card names into `out` or the weights folder.

    Returns file, status, url, sha256 and bytes. Without `flavour` the newest naming scheme that was published is taken.
    `mirror` (by default $SSLD_MIRROR) holds the file instead of its publisher. With `offline` (or SSLD_OFFLINE=1) no
    network is used. Raises RecipeError for an unknown name, and WeightsError where the file cannot be had.
    """
    from ssld.weights import Published, fetch

    weights = cards.find_weights(name, flavour)[1]
    published = Published(f"{name} --flavour {flavour}" if flavour else name, weights.url, weights.sha256)
    offline = offline or os.environ.get("SSLD_OFFLINE", "0") not in ("", "0")
    mirror = mirror or os.environ.get("SSLD_MIRROR") or None
    folder = Path(out) if out else weights_root()
    return fetch(published, folder, weights_root() / "pins.yaml", mirror, offline)


def network_with_weights(name: str, file: Path) -> tuple[Any, cards.Input]:
    """Return a model of the zoo with the weights of a file in any format that can be read here, and its input.

    It has as many classes as the file notes. The input is that of the training of which the file notes it, else that of
    the card.
    """
    from ssld import weights
    from ssld.distill.teacher_weights import as_trained, classes_of

    recorded_revision: Any = weights.metadata(file).get("revision")
    card = cards.find_model(name)
    revision = recorded_revision if file.suffix == ".safetensors" else card.revision
    shown = as_trained(card, file).input
    network = create_model(name, num_classes=classes_of(file), in_size=shown.size, revision=revision)
    weights.load_into(network, file, revision=network.revision)
    return network, shown
