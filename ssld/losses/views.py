"""Name the outputs of the views of a stage: `strong.logits` are the logits of the view `strong`.

A view shows the images of a batch once more, changed in another way. The first one, which `data.augment` makes, has no
name: its outputs are called `logits`, `stage3` and so on.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from ssld.interfaces import FIRST_VIEW, Outputs


def named(view: str | None, name: str) -> str:
    """Return what an output is called in a view, the first one where it is None or FIRST_VIEW."""
    return f"{view}.{name}" if view else name


def split(name: str, views: Collection[str]) -> tuple[str, str]:
    """Return (view, name of the output in it). A tap such as `stage3.pre` is of the first view."""
    view, _, rest = name.partition(".")
    return (view, rest) if rest and view in views else (FIRST_VIEW, name)


def by_view(names: Iterable[str], views: Iterable[str]) -> dict[str, frozenset[str]]:
    """Return view -> the names of the outputs that are read of it, of the views that are read, the first one first."""
    views = (FIRST_VIEW, *views)
    pairs = [split(name, views) for name in names]
    read = {view: frozenset(name for of, name in pairs if of == view) for view in views}
    return {view: names_of_view for view, names_of_view in read.items() if names_of_view}


def of_view(outputs: Outputs, view: str | None) -> Outputs:
    """Return the outputs of one view under the names that they have in it. With None all of them stay as they are."""
    if view is None:
        return outputs
    prefix = named(view, "")
    return Outputs(
        {name.removeprefix(prefix): value for name, value in outputs.items() if name.startswith(prefix)},
        each={name: of_view(of_teacher, view) for name, of_teacher in outputs.each.items()},
        weights=outputs.weights,
    )
