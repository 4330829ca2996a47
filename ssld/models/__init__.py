"""Make the networks of the zoo: `create("ResNet50_vd", num_classes=10)`; a new series is a new file in this folder.

`create_own` makes a network of one's own; `outputs_of`, `taps_of`, `classifier_of` and `count` ask any network.
"""

from ssld.models.base import Classifier, Family, count, counting, create, keymap, names, parameters, revised, series
from ssld.models.heads import add_distillation_head, add_teacher_head, take_end
from ssld.models.modes import BATCH_NORMS, evaluating
from ssld.models.own import adopt, classes_of, create_own
from ssld.models.taps import called, classifier_of, outputs_of, taps_of

__all__ = [
    "BATCH_NORMS",
    "Classifier",
    "Family",
    "add_distillation_head",
    "add_teacher_head",
    "adopt",
    "called",
    "classes_of",
    "classifier_of",
    "count",
    "counting",
    "create",
    "create_own",
    "evaluating",
    "keymap",
    "names",
    "outputs_of",
    "parameters",
    "revised",
    "series",
    "take_end",
    "taps_of",
]
