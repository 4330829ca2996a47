"""This package tells what a recipe will take before it is run: images, steps, memory of cards, storage, time."""

from ssld.planning.batch_split import linear_scaling
from ssld.planning.parts import parts_of
from ssld.planning.rates import given_rate, measured_rates, scaled_rates
from ssld.planning.summary import RecipePlan, cost_line, facts, row, storage, tables, totals

__all__ = [
    "RecipePlan",
    "cost_line",
    "facts",
    "given_rate",
    "linear_scaling",
    "measured_rates",
    "parts_of",
    "row",
    "scaled_rates",
    "storage",
    "tables",
    "totals",
]
