"""The gates that kernels and executor share, against PyTorch's own functions in double precision."""

import torch

from spokeshave.compiler.quantization.gates import gate_sigmoid, gate_tanh


def test_gates_are_accurate_everywhere():
    x = torch.cat([torch.linspace(-20, 20, 100_001), torch.logspace(-30, 1, 10_001), torch.tensor([0.0])])
    tanh = torch.tanh(x.double())
    assert ((gate_tanh(x) - tanh).abs() <= 6e-7 * tanh.abs()).all()
    assert (gate_sigmoid(x) - torch.sigmoid(x.double())).abs().max() < 2e-7
    assert gate_tanh(x).abs().max() <= 1


def test_what_is_no_number_stays_so():
    wild = torch.tensor([torch.inf, -torch.inf, torch.nan])
    assert torch.allclose(gate_tanh(wild)[:2], torch.tensor([1.0, -1.0]))
    assert gate_tanh(wild)[2].isnan()
