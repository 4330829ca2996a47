"""The zoo. `create("ResNet50_vd", num_classes=10)` makes a network; a new series is a new file in this folder."""

from ssld.models.base import Classifier, Family, count, create, keymap, names, revised, series

__all__ = ["Classifier", "Family", "count", "create", "keymap", "names", "revised", "series"]
