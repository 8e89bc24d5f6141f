"""Magnitude ranks weights as projections do by default."""

import torch

from spokeshave.criteria.magnitude import magnitude
from spokeshave.schemes.block_column_row import BlockColumnRow
from spokeshave.schemes.unstructured import Unstructured


def test_it_is_the_default_of_every_projection() -> None:
    weight = torch.nn.Parameter(torch.randn(12, 30, generator=torch.Generator().manual_seed(0)))
    saliency = magnitude(weight)
    assert not saliency.requires_grad
    for scheme in (Unstructured(0.7), BlockColumnRow(0.7, (4, 8), 0.25)):
        assert torch.equal(scheme.project(weight, saliency), scheme.project(weight))
