"""Teacher to student: the stages of a recipe. `ssld.distill(...)` is the function of that name in `ssld.api`."""

from ssld.callable import make_callable

make_callable(__name__)
