import copy

import pytest
import torch
import torch.nn.functional as F
from tests.tokens.networks import images, network
from torch import Tensor, nn

from spokeshave.errors import SpokeshaveError
from spokeshave.export import export_network
from spokeshave.methods.polynomials import Polynomials, approximate
from spokeshave.polynomials import polynomial_exp, polynomial_gelu, polynomial_sigmoid, polynomial_softmax
from spokeshave.tokens import Gumbel, Learned, Package, TokenReducer, insert

LINE = torch.linspace(-8, 8, 4001, dtype=torch.float64)


def slope(function: object, x: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    function(x).sum().backward()
    return x.grad


def test_they_are_close_where_nothing_is_scaled() -> None:
    assert (polynomial_gelu(LINE, 1.0) - F.gelu(LINE)).abs().max() < 0.02
    assert (polynomial_sigmoid(LINE) - LINE.sigmoid()).abs().max() < 0.02
    below = LINE[LINE <= 0]
    assert (polynomial_exp(below) / below.exp() - 1).abs().max() < 0.004
    scores = torch.randn(5, 9, dtype=torch.float64) * 4
    assert (polynomial_softmax(scores) - scores.softmax(-1)).abs().max() < 0.003


def test_halves_keep_slopes_below_one_and_shrink_noise() -> None:
    """What the paper claims; with the exact GELU noise grows where it is steep."""
    assert slope(lambda x: polynomial_gelu(x, 0.5), LINE).abs().max() < 0.83
    assert slope(F.gelu, LINE).abs().max() > 1.12
    steep, noise = (
        torch.full((20_000,), 1.4, dtype=torch.float64),
        torch.rand(20_000, dtype=torch.float64) / 100,
    )
    grown = [
        (function(steep + noise) - function(steep)).std() / noise.std()
        for function in (polynomial_gelu, F.gelu)
    ]
    assert grown[0] < 0.85 < 1.1 < grown[1]
    scores = torch.randn(3, 6, dtype=torch.float64, requires_grad=True)
    jacobian = torch.autograd.functional.jacobian(
        lambda x: polynomial_softmax(x, -1, 0.5), scores.detach()[0]
    )
    assert torch.linalg.matrix_norm(jacobian, 2) < 0.3


@pytest.mark.parametrize("kind", ["vit", "lv-vit", "swin"])
def test_networks_compute_with_them_until_they_are_removed(kind: str) -> None:
    made, inputs = network(kind), images(2)
    with torch.no_grad():
        exact = made(inputs)
        with approximate(made, Polynomials(1.0, 1.0)):
            near = made(inputs)
            program = export_network(made, inputs)
            torch.testing.assert_close(program.module()(inputs[:1]), near[:1])
        with approximate(made, Polynomials()):
            far = made(inputs)
        assert torch.equal(made(inputs), exact)
    assert 0 < (near - exact).abs().max() < 0.3 * (far - exact).abs().max()


def test_reducers_agree_under_them_and_train() -> None:
    made, inputs = network("vit"), images(3)
    with (
        approximate(made, Polynomials()),
        insert(made, TokenReducer(1, Learned(), Gumbel(), Package())) as reduced,
    ):
        found = {}
        for form in ("masked", "gathered"):
            reduced.form = form
            found[form] = made(inputs)  # masked, with gradients for the mask
        with torch.no_grad():
            reduced.form = "masked"
            torch.testing.assert_close(made(inputs), found["masked"], rtol=0, atol=1e-5)
        torch.testing.assert_close(found["masked"], found["gathered"], rtol=0, atol=1e-5)
        found["masked"].square().sum().backward()
        assert all(weight.grad is None or weight.grad.isfinite().all() for weight in made.parameters())


def test_mistakes_and_copies() -> None:
    for wrong in (0, 1.5):
        with pytest.raises(SpokeshaveError, match="above 0 and at most 1"):
            Polynomials(gelu=wrong)
    layer = nn.Sequential(nn.Linear(2, 2), nn.GELU())
    with approximate(layer, Polynomials()):
        with pytest.raises(SpokeshaveError, match="already"):
            approximate(layer, Polynomials())
        other = copy.deepcopy(layer)
    layer[0].weight.data.zero_()
    assert not torch.equal(other(torch.ones(1, 2)), layer(torch.ones(1, 2)))
