"""Compare two recipes, or two stages, over the seeds that both have: `ssld compare`."""

from pathlib import Path

from ssld.report.compare import Comparison
from ssld.report.compare import compare as compare_sides


def compare(*, a: str, b: str, metric: str, experiments: str) -> Comparison:
    """Compare A with B in a metric, paired by seed, with the results that are recorded in `experiments`.

    Each side is PLACE[@DIGEST][:STAGE], where PLACE is a recipe with recorded results, a run folder, a folder of run
    folders, or a file of results. It raises RunError for a side that has no results, or those of several plans, for a
    stage or a metric that does not exist, and where no seed is on both sides.
    """
    return compare_sides(a, b, metric, Path(experiments))
