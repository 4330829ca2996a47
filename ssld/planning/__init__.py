"""`ssld plan`: what a recipe will take before it is run."""

from ssld.planning.parts import parts_of
from ssld.planning.summary import cost_line, facts, plan_recipe, tables

__all__ = ["cost_line", "facts", "parts_of", "plan_recipe", "tables"]
