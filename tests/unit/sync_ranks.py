"""A few steps with batch norms of all kinds, by one process or as a rank among others, see `two_ranks.py`.

The numbers have 64 bits. With 32 bits the steps of a fresh network tell nothing: another order of the images of a
batch, in one process, makes weights that differ by 0.3 after five steps.
"""

import numpy as np
import paddle
from paddle import nn

from ssld import models
from ssld.distill import parallel
from ssld.runtime import seed_networks

STEPS, IMAGES, SIZE, CLASSES = 3, 8, 32, 4


class EveryNorm(nn.Layer):
    """A network with batch norms of vectors, rows, maps and volumes, with channels first and last."""

    def __init__(self):
        super().__init__()
        self.entry = nn.Conv2D(3, 4, 3, 8)
        self.maps, self.plain = nn.BatchNorm2D(4, momentum=0.7), nn.BatchNorm(4, act="relu")
        self.bare = nn.BatchNorm2D(4, weight_attr=False, bias_attr=False)
        self.last = nn.BatchNorm2D(4, data_format="NHWC")
        self.rows, self.volumes = nn.BatchNorm1D(4), nn.BatchNorm3D(2)
        self.vectors, self.fixed = nn.BatchNorm1D(16), nn.BatchNorm1D(16, use_global_stats=True)
        self.classifier = nn.Linear(16, CLASSES)

    def forward(self, x):
        x = self.bare(self.plain(self.maps(self.entry(x))))
        x = self.last(x.transpose([0, 2, 3, 1])).transpose([0, 3, 1, 2])
        x = self.rows(x.flatten(2)).reshape(x.shape)
        x = self.volumes(x.reshape([len(x), 2, 2, *x.shape[2:]])).flatten(2).mean(-1)
        x = paddle.concat([x, x * x, x**3, x**4, x**5, x**6, x**7, x**8], axis=1)
        return self.classifier(self.fixed(self.vectors(x)))


def networks():
    seed_networks(0)
    zoo = models.create("MobileNetV3_small_x0_35", num_classes=CLASSES, in_size=SIZE)
    for layer in zoo.sublayers():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0  # each rank draws masks of its own
    with paddle.utils.unique_name.guard("every_"):
        return {"every": EveryNorm(), "zoo": zoo}


def train(here):
    """The state of each network after some steps, and what it says in an evaluation, as arrays."""
    arrays = {}
    for name, network in networks().items():
        network.to(dtype="float64")
        trained = [parameter for parameter in network.parameters() if not parameter.stop_gradient]
        step = nn.Sequential(network)
        ranks = parallel.Ranks(step, trained, here, sync_bn=True)
        optimizer = paddle.optimizer.Momentum(0.05, 0.9, parameters=trained)
        for number in range(STEPS):
            draw = np.random.default_rng(number)
            images, labels = draw.normal(size=(IMAGES, 3, SIZE, SIZE)), draw.integers(0, CLASSES, IMAGES)
            share = slice(here.rank, None, here.world)
            logits = ranks.forward(paddle.to_tensor(images[share]))
            nn.functional.cross_entropy(logits, paddle.to_tensor(labels[share])).backward()
            ranks.average()
            optimizer.step()
            optimizer.clear_grad(set_to_zero=False)
        step.eval()
        arrays |= {f"{name} {key}": value.numpy() for key, value in network.state_dict().items()}
        arrays[f"{name} evaluated"] = step(paddle.to_tensor(images)).numpy()
    return arrays
