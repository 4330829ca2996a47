"""Gradients of several ranks through shared memory: ranks are threads here, in tests/e2e/test_resume.py processes."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import paddle
import pytest

from ssld.distill import parallel
from ssld.distill.parallel import SharedMean
from ssld.runtime import Runtime

SHAPES = ([7, 3], [1], [5], [2, 3, 3, 3])
UNUSED = 2  # this one gets no gradient


def gradient(rank, step, number):
    return np.random.default_rng([rank, step, number]).normal(size=SHAPES[number]).astype(np.float32)


def learn(parameters, rank, step):
    for number, parameter in enumerate(parameters):
        parameter.clear_gradient(set_to_zero=False)
        if number != UNUSED:
            (parameter * paddle.to_tensor(gradient(rank, step, number))).sum().backward()


@pytest.mark.parametrize("world", [2, 3])
def test_every_rank_gets_the_mean_of_all_gradients_step_after_step(world, monkeypatch):
    meet = threading.Barrier(world, timeout=60)
    monkeypatch.setattr(parallel, "barrier", lambda runtime: meet.wait())
    of_ranks = [[paddle.create_parameter(shape, "float32") for shape in SHAPES] for _ in range(world)]
    memory = np.full((world + 1, sum(p.size for p in of_ranks[0])), np.nan, dtype=np.float32)
    means = [SharedMean(held, Runtime(rank, world, None), memory) for rank, held in enumerate(of_ranks)]
    for step in range(3):
        for rank, held in enumerate(of_ranks):
            learn(held, rank, step)
        with ThreadPoolExecutor(world) as pool:
            list(pool.map(SharedMean.__call__, means))
        for number in {0, 1, 3}:
            given = [gradient(rank, step, number) for rank in range(world)]
            mean = sum(given[1:], given[0]) * np.float32(1 / world)  # in the order of the ranks
            assert {held[number].grad.numpy().tobytes() for held in of_ranks} == {mean.tobytes()}
        assert all(held[UNUSED].grad is None for held in of_ranks)


def test_one_rank_shares_nothing():
    network = paddle.nn.Linear(2, 2)
    ranks = parallel.Ranks(network, network.parameters(), Runtime(0, 1, None), sync_bn=False)
    assert ranks.forward is network
    ranks.average()


def test_ranks_that_share_no_memory_say_so_once_and_leave_it_to_paddle(monkeypatch, capsys):
    network = paddle.nn.Linear(2, 2)
    monkeypatch.setattr(parallel, "shared_memory", lambda runtime, size: None)
    monkeypatch.setattr(paddle, "DataParallel", lambda network: ("parallel", network))
    for rank in (0, 1):
        ranks = parallel.Ranks(network, network.parameters(), Runtime(rank, 2, None), sync_bn=False)
        assert ranks.forward == ("parallel", network)
    assert capsys.readouterr().err.splitlines() == [
        "the ranks share no memory: gloo averages gradients; more than two ranks round otherwise then"
    ]


def test_the_memory_is_that_of_the_main_rank_and_of_no_other(monkeypatch):
    """Rank 0 finds its own mark; a rank that is told another mark, as of a process elsewhere, does without."""
    monkeypatch.setattr(parallel, "barrier", lambda runtime: None)
    monkeypatch.setattr(parallel, "sum_over_ranks", lambda values, runtime: values * 2 if len(values) == 1 else values)
    found = parallel.shared_memory(Runtime(0, 2, None), 10)
    assert (found.shape, found.dtype) == ((3, 10), np.float32)
    found[:] = 1.5  # it can be written
    monkeypatch.setattr(parallel, "sum_over_ranks", lambda values, runtime: values + 1 if len(values) == 3 else values)
    assert parallel.shared_memory(Runtime(0, 2, None), 10) is None
