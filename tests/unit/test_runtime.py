"""These tests ask what is set before Paddle is imported, and what is recorded of the machine."""

import os

import pytest

import ssld
from ssld import runtime


@pytest.mark.parametrize(
    ("vendor", "before", "after"),
    [
        ("AuthenticAMD", None, "5"),
        ("GenuineIntel", None, None),  # there MKL would choose an older path
        ("AuthenticAMD", "4", "4"),
        ("AuthenticAMD", "", ""),
    ],
)
def test_mkl_takes_its_fast_path_on_amd_unless_the_user_says_otherwise(vendor, before, after, tmp_path, monkeypatch):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"vendor_id\t: {vendor}\n", encoding="utf-8")
    monkeypatch.setattr(ssld, "Path", lambda path: cpuinfo)
    monkeypatch.setenv(ssld.FAST_MKL, "")  # monkeypatch then restores the variable afterwards
    monkeypatch.delenv(ssld.FAST_MKL) if before is None else monkeypatch.setenv(ssld.FAST_MKL, before)
    ssld._use_fast_mkl_on_amd()
    assert os.environ.get(ssld.FAST_MKL) == after
    assert runtime.versions().get(ssld.FAST_MKL) == (after or None)
