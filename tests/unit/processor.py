"""What the processor of this machine can do."""

import pytest

from ssld.deploy.machine import sums_8_bits_exactly

needs_exact_int8 = pytest.mark.skipif(
    not sums_8_bits_exactly(), reason="this processor adds products of 8-bit numbers in 16 bits, where they saturate"
)
