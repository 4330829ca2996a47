"""What a recipe may say of views and of the confidence of a teacher, and what is one line when it is read."""

import pytest

from ssld.config import cost, recipe
from ssld.errors import RecipeError
from ssld.losses.registry import built_in
from tests.unit.some_recipe import TREE, changed

STRONG = {"strong": {"auto": "randaugment", "erase": 0.25}}
TURNED = {"turned": "rotations"}
PAIR = {"ssld": {"student_view": "strong"}}
OF_TURNED = {"student_view": "turned", "teacher_view": "turned"}


def plan_of(loss, views=None, **stage):
    tree = changed(TREE, "stages.distill.loss", loss)
    for key, value in {"data.views": views or {}, **stage}.items():
        tree = changed(tree, f"stages.distill.{key}", value)
    return recipe.of_mapping(tree)


@pytest.mark.parametrize(
    ("loss", "views", "message"),
    [
        ({"ssld": {}}, STRONG, r"data\.views\.strong: no loss reads this view; name it in student_view"),
        ({"ssld": {"student_view": "strng"}}, STRONG, r"ssld\.student_view: no view named 'strng'; did you mean"),
        (PAIR, {}, r"ssld\.student_view: no view named 'strong'; add it, such as data\.views: \{strong: \{auto: "),
        ({"mlkd": {}}, {}, r"loss\.mlkd: mlkd reads 'strong\.logits', and this stage has no view 'strong'; add it"),
        ({"mlkd": {"student_view": "strong"}}, STRONG, r"mlkd\.student_view: mlkd says itself that it reads"),
        ({"sskd": {}}, {}, r"4 rows of each image, and the first view has 1; set student_view: turned and"),
        ({"sskd": {"student_view": "turned"}}, TURNED, r"4 rows .*; set student_view: turned and teacher_view: turned"),
        ({"kl": OF_TURNED}, TURNED, r"kl reads one row of each image, and view 'turned' has 4; name another view"),
        ({"ce": {**OF_TURNED, "unlabelled": "ignore"}}, TURNED, r"ce\.teacher_view: ce reads nothing of a teacher"),
        ({"kl": {}}, {"a": "rotations", "b": "rotations"}, r"data\.views: a and b are the same rotations; leave"),
        (
            {"kl": {}},
            {"a": "rotation"},
            r"data\.views\.a: a view is a mapping of keys of augment, .*, or rotations; got",
        ),
        ({"kl": {}}, {"a": {"ato": 1}}, r"data\.views\.a\.ato: unknown key; did you mean 'auto'\?$"),
        ({"kl": {}}, {"a": {"flip": "x"}}, r"data\.views\.a\.flip: should be a number from 0 to 1; got 'x'"),
        ({"kl": {"student_view": "a"}}, {"a": {"mixup": 0.2}}, r"views\.a: every view is mixed as the first one is"),
        ({"kl": {"student_view": "stage1"}}, {"stage1": {}}, r"views\.stage1: 'stage1' is no name of a view"),
        ({"kl": {"student_view": "A.b"}}, {"A.b": {}}, r"views\.A\.b: 'A\.b' is no name of a view"),
        ({"kl": {"student_view": 3}}, STRONG, r"kl\.student_view: 3 is no name; give that of a view in data\.views"),
        ({"kl": {"min_teacher": 2}}, {}, r"kl\.min_teacher\.value: should be a number from 0 to 1; got 2"),
        ({"kl": {"min_teacher": 0}}, {}, r"kl\.min_teacher\.value: every image has 0 or more; give a larger number"),
        (
            {"kl": {"min_teacher": {"value": 0.5, "kind": "sof"}}},
            {},
            r"min_teacher\.kind: input should be 'hard' or 'soft'; got 'sof'",
        ),
        ({"kl": {"min_teacher": "high"}}, {}, r"kl\.min_teacher\.value: should be a number from 0 to 1; got 'high'"),
    ],
)
def test_what_cannot_be_is_one_line(loss, views, message):
    with pytest.raises(RecipeError, match=message) as caught:
        plan_of(loss, views)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [name for name, cls in built_in().items() if cls.coupled])
def test_a_mask_is_refused_for_a_loss_that_compares_images_and_names_it(kind):
    views = {"mlkd": STRONG, "sskd": TURNED}.get(kind)
    options = {**OF_TURNED, "unlabelled": "teacher_argmax"} if kind == "sskd" else {}
    plan_of({kind: options}, views)
    with pytest.raises(RecipeError, match=rf"loss\.{kind}\.min_teacher: {kind} compares the images of a micro-batch"):
        plan_of({kind: {**options, "min_teacher": 0.9}}, views)


def test_a_label_cache_keeps_the_first_view_of_the_teacher():
    running = changed(TREE, "teacher.norm", "running")

    def load(loss):
        tree = changed(changed(running, "stages.distill.loss", loss), "stages.distill.data.views", STRONG)
        return recipe.of_mapping(changed(tree, "stages.distill.labels", {"views": 2}))

    assert load({"ssld": {"student_view": "strong", "min_teacher": 0.5}}).stages["distill"].teacher_reads == {"logits"}
    with pytest.raises(RecipeError, match="reads the view 'strong' of the teacher, and a label cache keeps the first"):
        load({"ssld": {"student_view": "strong", "teacher_view": "strong"}})


def test_a_teacher_is_needed_for_a_mask_and_for_labels_of_its_own():
    alone = {key: value for key, value in TREE.items() if key != "teacher"}
    for options in ({"unlabelled": "teacher_argmax"}, {"unlabelled": "ignore", "min_teacher": 0.9}):
        plan = plan_of({"ce": options})
        assert plan.teachers_of("distill").keys() == {"teacher"}
        tree = {**alone, "stages": {"distill": {"epochs": 1, "loss": {"ce": options}}}, "baseline": None}
        with pytest.raises(RecipeError, match=r"stages\.distill\.loss: learns from a teacher; the recipe has none"):
            recipe.of_mapping(tree)


def test_what_is_not_used_enters_no_digest_and_two_forms_of_a_mask_are_one():
    plain = plan_of({"ssld": {}})
    named = plan_of({"ssld": {"student_view": None, "teacher_view": None, "min_teacher": None}}, {})
    assert plain.digest == named.digest
    short, long = (
        plan_of({"ssld": {"min_teacher": 0.9}}),
        plan_of({"ssld": {"min_teacher": {"value": 0.9, "kind": "hard"}}}),
    )
    assert short.digest == long.digest != plain.digest
    soft = plan_of({"ssld": {"min_teacher": {"value": 0.9, "kind": "soft"}}})
    views = [plan_of(PAIR, {"strong": {"erase": erase}}) for erase in (0.1, 0.2)]
    assert len({plan.digest for plan in (plain, short, soft, *views)}) == 5
    again = recipe.build(recipe.plan_tree(views[0]), "again")
    assert (again, again.digest) == (views[0], views[0].digest)


def test_the_arithmetic_of_a_step_counts_every_row_that_passes_a_network():
    rows = {}
    for name, (loss, views) in {
        "plain": ({"ssld": {}}, {}),
        "pair": (PAIR, STRONG),
        "both": ({"mlkd": {}}, STRONG),
        "turned": ({"sskd": {**OF_TURNED, "unlabelled": "teacher_argmax"}}, TURNED),
    }.items():
        plan = plan_of(loss, views)
        stage = plan.stages["distill"]
        rows[name] = cost.student_macs(plan, stage), cost.taught_macs(plan, stage)
    student, teacher = rows["plain"]
    assert rows == {
        "plain": (student, teacher),
        "pair": (student, teacher),
        "both": (2 * student, 2 * teacher),
        "turned": (4 * student, 4 * teacher),
    }
