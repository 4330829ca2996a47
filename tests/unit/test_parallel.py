"""What several ranks share: gradients through memory or sockets, and batch statistics.

Ranks are threads here, or two processes; those of whole runs are in tests/e2e/test_resume.py.
"""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import paddle
import pytest
from paddle import nn

from ssld.distill import parallel
from ssld.distill.parallel import SharedMean
from ssld.errors import RunError
from ssld.runtime import Runtime
from tests.e2e.command import surroundings
from tests.unit import dot_ranks, peer_ranks, sync_ranks, two_ranks
from tests.unit.test_imports import ROOT

ALONE = Runtime(rank=0, world=1, gpu=None)
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


@pytest.fixture(scope="module")
def of_two_ranks(tmp_path_factory):
    """Name of a way -> the arrays of each of two processes."""
    folder = tmp_path_factory.mktemp("ranks")
    launcher = [sys.executable, "-m", "paddle.distributed.launch", "--nproc_per_node", "2", "--backend", "gloo"]
    done = subprocess.run(
        [*launcher, "--log_dir", str(folder / "log"), str(Path(two_ranks.__file__)), str(folder)],
        env=surroundings(PYTHONPATH=str(ROOT)), cwd=folder, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    log = "\n".join(file.read_text() for file in (folder / "log").glob("workerlog.*"))
    assert done.returncode == 0, done.stderr + log
    ways = ("shared", "sockets", "peers shared", "peers sockets", "sync")
    return {way: [dict(np.load(folder / f"{way}-{rank}.npz")) for rank in (0, 1)] for way in ways}


def agree(alone, ranks, tolerance):
    for key, value in alone.items():
        assert ranks[0][key].tobytes() == ranks[1][key].tobytes(), f"the ranks part at {key}"
        np.testing.assert_allclose(ranks[0][key], value, atol=tolerance, rtol=0, err_msg=key)


@pytest.mark.parametrize("way", ["shared", "sockets"])
def test_two_ranks_are_two_micro_batches_of_one_process_with_and_without_shared_memory(way, of_two_ranks):
    alone = dot_ranks.train(ALONE)
    assert len(alone) == 8  # of the network, and of the layers of the hint
    agree(alone, of_two_ranks[way], 1e-6)


@pytest.mark.parametrize("way", ["peers shared", "peers sockets"])
def test_networks_that_train_together_do_so_over_ranks_as_in_micro_batches_of_one_process(way, of_two_ranks):
    alone = peer_ranks.train(ALONE)
    assert len(alone) == 8  # of both networks
    agree(alone, of_two_ranks[way], 1e-6)


def test_two_ranks_with_shared_batch_statistics_are_one_process_with_the_whole_batch(of_two_ranks):
    agree(sync_ranks.train(ALONE), of_two_ranks["sync"], 1e-10)


def test_a_batch_norm_that_stands_in_two_places_stays_one_and_one_with_hooks_is_refused():
    norm = nn.BatchNorm2D(3)
    network = nn.Sequential(nn.Conv2D(3, 3, 1), norm, nn.Conv2D(3, 3, 1), norm)
    keys = list(network.state_dict())
    parallel._synchronise(network)
    assert network[1] is network[3]
    assert list(network.state_dict()) == keys
    hooked = nn.Sequential(nn.BatchNorm2D(3))
    hooked[0].register_forward_post_hook(lambda *given: None)
    with pytest.raises(RunError, match="sync_bn: the batch norm '0' of a Sequential has hooks, which would not be"):
        parallel._synchronise(hooked)
