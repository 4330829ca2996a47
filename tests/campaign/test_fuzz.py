"""These tests give changed files to every reader of other people's bytes: for seconds, and a minute in a campaign."""

import json
import os
import subprocess
import sys

import pytest

from tests.campaign.fuzz import Traced, fuzzed, warm
from tests.campaign.readers import PIXELS, READERS
from tests.unit.test_imports import ROOT

FILES = 30  # of the slice, for each reader
SECONDS = 60  # of the campaign, for each reader


@pytest.mark.parametrize("name", READERS)
def test_a_changed_file_is_read_or_refused_in_one_line_within_its_memory(name, monkeypatch):
    monkeypatch.setenv("SSLD_MAX_PIXELS", str(PIXELS))
    warm(READERS[name])
    said = fuzzed(READERS[name], Traced(), FILES)
    assert said.total() >= FILES // 2


@pytest.mark.campaign
@pytest.mark.timeout(10 * SECONDS)
@pytest.mark.parametrize("name", READERS)
def test_so_it_is_for_a_minute_in_a_process_whose_memory_has_a_limit(name):
    words = [sys.executable, "-m", "tests.campaign.fuzz", name, str(SECONDS)]
    environment = {**os.environ, "SSLD_MAX_PIXELS": str(PIXELS), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-5000:]
    said = json.loads(done.stdout.splitlines()[-1])
    assert min(said["read"], said["refused"]) > 0
