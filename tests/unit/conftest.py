"""What the tests of several files share."""

import os
from pathlib import Path

import pytest

from tests.unit.tiny_run import make_place


@pytest.fixture(scope="session")
def finished_place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The place of `tiny_run.make_place`, made once. Nothing may be changed in it: a test works in a copy."""
    place, before = tmp_path_factory.mktemp("finished"), Path.cwd()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("SSLD_DATA", "data")
        patch.delenv("SSLD_LABELS", raising=False)
        make_place(place)
    assert Path.cwd() == before, os.getcwd()
    return place
