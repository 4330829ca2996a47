"""What the processor of this machine can do."""

import platform
from pathlib import Path

import pytest

CPUINFO = Path("/proc/cpuinfo")
DOT_PRODUCTS = {"avx_vnni", "avx512_vnni", "amx_int8", "asimddp"}


def sums_8_bits_exactly():
    """Whether products of 8-bit numbers are added in 32 bits. Older x86 processors add two of them in 16 bits, where
    large ones saturate, so that an engine in int8 computes something else than the file says.
    """
    if platform.machine() not in ("x86_64", "aarch64") or not CPUINFO.is_file():
        return True
    lines = CPUINFO.read_text(encoding="utf-8").splitlines()
    flags = {flag for line in lines if line.startswith(("flags", "Features")) for flag in line.split()}
    return bool(flags & DOT_PRODUCTS)


needs_exact_int8 = pytest.mark.skipif(
    not sums_8_bits_exactly(), reason="this processor adds products of 8-bit numbers in 16 bits, where they saturate"
)
