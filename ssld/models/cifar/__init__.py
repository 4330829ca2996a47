"""The networks for images of 32 pixels by which the literature of distillation is compared, mostly on CIFAR-100.

They are those of HobbitLong/RepDistiller, from which most later repositories took them; the numbers of parameters for
100 classes are theirs. Taps follow its feature points: `stage1` .. are its features after the stem, `stage1.pre` .. the
same before the last activation. No weights of them are published in a format that this project reads, so their names of
parameters are ours alone.
"""
