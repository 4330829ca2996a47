"""Define the layers and memories of contrastive representation distillation, see `losses/contrast/crd.py`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import paddle
from numpy.typing import NDArray
from paddle import Tensor, nn

from ssld.errors import RecipeError
from ssld.losses.base import About
from ssld.losses.layers.memory import Memory
from ssld.random import LOSS, uniform
from ssld.runtime import Runtime

if TYPE_CHECKING:
    from ssld.losses.contrast.crd import Crd

EPSILON = 1e-7  # the official code has this number


class Contrast(nn.Layer):
    """Hold embeddings of both networks, a memory of each, and the constants Z, 0 until the first batch sets them."""

    def __init__(self, options: Crd, about: About):
        super().__init__()
        self.options, self.images, self.world, self.seed = options, about.images, about.world, about.seed
        self.embed_s = nn.Linear(about.student["embedding"][-1], options.width)
        self.embed_t = nn.Linear(about.teacher["embedding"][-1], options.width)
        bound = 1 / math.sqrt(options.width / 3)
        start = [paddle.uniform([about.images, options.width], min=-bound, max=bound) for _ in range(2)]
        self.memory_s, self.memory_t = Memory(start[0]), Memory(start[1])
        self.register_buffer("z", paddle.zeros([2]))
        self._begun = False
        self._by_class = np.argsort(about.labels, kind="stable")  # images of one class lie side by side
        self._labels, sorted_labels = about.labels, about.labels[self._by_class]
        self._first = np.searchsorted(sorted_labels, self._labels, side="left")
        self._count = np.searchsorted(sorted_labels, self._labels, side="right") - self._first
        self._place = np.empty(about.images, np.int64)  # place of each image in that order
        self._place[self._by_class] = np.arange(about.images)
        if (self._others(np.arange(about.images)) < 1).any():
            raise RecipeError("there are no images of another class to compare with; give more classes")

    def _others(self, index: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the number of images that are negatives of each of these."""
        return self.images - np.where(self._labels[index] < 0, 1, self._count[index])

    def draw(self, index: Tensor, step: int) -> Tensor:
        """Draw int64 [N, K + 1] for images int64 [N]: each image itself, then K others of other classes.

        They follow from the seed, the step and the image alone.
        """
        own = index.numpy()
        draws = uniform(self.seed, LOSS, step, own, self.options.negatives)
        ranks = (draws * self._others(own)[:, None]).astype(np.int64)
        unlabelled = self._labels[own] < 0
        first = np.where(unlabelled, self._place[own], self._first[own])[:, None]
        count = np.where(unlabelled, 1, self._count[own])[:, None]
        others = self._by_class[ranks + np.where(ranks >= first, count, 0)]
        return paddle.to_tensor(np.concatenate([own[:, None], others], axis=1))

    def forward(self, student: Tensor, teacher: Tensor, index: Tensor, chosen: Tensor) -> Tensor:
        """Return the loss of each image, [N], from [N, d_s], [N, d_t], int64 [N] and int64 [N, K + 1]."""
        v_s, v_t = self._embedded(self.embed_s, student), self._embedded(self.embed_t, teacher)
        scores = [self._scores(self.memory_t, v_s, chosen), self._scores(self.memory_s, v_t, chosen)]
        if not self._begun:  # each process reads the constants once, because reading waits for the device
            if float(self.z[0]) == 0:
                self.z.set_value(paddle.stack([self._constant(score) for score in scores]))
            self._begun = True
        self.memory_s.write(index, v_s)
        self.memory_t.write(index, v_t)
        return self._value(scores[0] / self.z[0]) + self._value(scores[1] / self.z[1])

    def after_step(self, runtime: Runtime) -> None:
        """Move the memory of every image of the step to its new vector."""
        for memory in (self.memory_s, self.memory_t):
            for index, value in memory.take(runtime):
                share = self.options.momentum
                mixed = share * paddle.index_select(memory.rows, index) + (1 - share) * value
                memory.set(index, mixed / mixed.square().sum(axis=1, keepdim=True).sqrt())

    @staticmethod
    def _embedded(layer: nn.Linear, features: Tensor) -> Tensor:
        x = layer(features)
        return x / x.square().sum(axis=1, keepdim=True).sqrt()  # the published code has no epsilon either

    def _scores(self, memory: Memory, vectors: Tensor, index: Tensor) -> Tensor:
        rows = memory.read(index)  # [N, K + 1, width]
        return ((rows @ vectors.unsqueeze(-1)).squeeze(-1) / self.options.temperature).exp()

    @paddle.no_grad()
    def _constant(self, scores: Tensor) -> Tensor:
        mean = scores.detach().mean()
        if self.world > 1:
            paddle.distributed.all_reduce(mean)
            mean = mean / self.world
        return (mean * self.images).astype(self.z.dtype)

    def _value(self, o: Tensor) -> Tensor:
        noise = self.options.negatives / self.images
        positive = (o[:, 0] / (o[:, 0] + noise + EPSILON)).log()
        negative = (noise / (o[:, 1:] + noise + EPSILON)).log().sum(axis=1)
        return -(positive + negative)
