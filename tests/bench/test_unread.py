"""What is left out of pruned networks is counted on the compiler's own graph."""

import pytest
from bench.chains import CHAINS
from bench.unread import left


@pytest.mark.parametrize(("name", "all_read"), [("conv3x3_64_56", False), ("bert_qkv", True)])
def test_outputs_that_nothing_reads_are_counted(name, all_read):
    found = left(CHAINS[name], "fp32", 10.0)
    assert found.kept == pytest.approx(0.1, abs=0.01)
    if all_read:  # the next layer has columns of their own for every eight outputs
        assert (found.left_out, found.used) == (0, found.kept)
    else:  # two sets of a tenth of the channels each: of four layers three lose most of 64 outputs
        assert found.outputs == 4 * 64
        assert 3 * 40 < found.left_out < 3 * 60
        assert found.used < 0.5 * found.kept
