"""The tests of all networks share a process: what one has freed goes back to the system before the next."""

import ctypes

import pytest

TRIM = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc, which else keeps gigabytes in small pieces


@pytest.fixture(autouse=True)
def _give_memory_back():
    yield
    if TRIM is not None:
        TRIM(0)
