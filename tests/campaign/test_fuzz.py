"""These tests give changed files to every reader of other people's bytes, for seconds; a campaign does so longer."""

import pytest

from tests.campaign.fuzz import Traced, fuzzed, warm
from tests.campaign.readers import PIXELS, READERS

FILES = 30  # of the slice, for each reader


@pytest.mark.parametrize("name", READERS)
def test_a_changed_file_is_read_or_refused_in_one_line_within_its_memory(name, monkeypatch):
    monkeypatch.setenv("SSLD_MAX_PIXELS", str(PIXELS))
    warm(READERS[name])
    said = fuzzed(READERS[name], Traced(), FILES)
    assert said.total() >= FILES // 2
