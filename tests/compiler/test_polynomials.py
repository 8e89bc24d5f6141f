"""Networks that compute by HeatViT's polynomials, compiled in every form, against PyTorch."""

import pytest
import torch
from tests.compiler.test_selected_tokens import Transformer, made
from tests.tokens.networks import images, network
from torch import Tensor

from spokeshave.compiler import compile_network
from spokeshave.compiler.artifact import run_as_c
from spokeshave.compiler.importer import import_program
from spokeshave.compiler.integers import IntegerForm, whole_network
from spokeshave.compiler.integers.batched import run_batch
from spokeshave.compiler.operations import Activate, Attention, Linear
from spokeshave.compiler.passes.pipeline import optimise
from spokeshave.export import export_network
from spokeshave.methods import Polynomials, approximate

SEAM = 2e-4  # of the largest output: where the parabola steps, rounding decides


def one_by_one(transformer: Transformer, given: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([transformer(image.unsqueeze(0))[0] for image in given])


def test_they_go_into_the_kernels_of_layers_and_attention() -> None:
    transformer = network("vit").float()
    with approximate(transformer, Polynomials(0.5, 0.25)):
        graph = optimise(import_program(export_network(transformer, images(1).float())).graph)
    operations = [node.operation for node in graph.nodes]
    attentions = [each for each in operations if isinstance(each, Attention)]
    kinds = [each.activation.kind for each in operations if isinstance(each, Linear) and each.activation]
    assert attentions
    assert {each.polynomial for each in attentions} == {0.25}
    assert kinds == ["polynomial_gelu"] * len(attentions)
    assert not any(isinstance(each, Activate) for each in operations)


@pytest.mark.parametrize(
    ("precision", "tolerance"), [("float32", SEAM), ("bfloat16", 0.02), ("int8", 0.1)], ids=str
)
def test_adaptive_tokens_polynomials_and_low_precision_together(precision: str, tolerance: float) -> None:
    """HeatViT whole. Roundings may let another token stay; where the same ones do, outputs agree."""
    transformer, given = made("package")
    with approximate(transformer, Polynomials()):
        calibration = [given] if precision == "int8" else None
        deployment = compile_network(transformer, given[:1], precision=precision, calibration=calibration)
        expected = one_by_one(transformer, given)
    exact = one_by_one(transformer, given)
    found = deployment(given)[0]
    error = (found - expected).square().mean(1).sqrt() / expected.square().mean().sqrt()
    assert error.median() <= tolerance
    assert (found - exact).square().mean().sqrt() > 2 * (found - expected).square().mean().sqrt()


def test_plain_c_gives_the_same() -> None:
    transformer, given = made("package")
    with approximate(transformer, Polynomials()):
        deployment = compile_network(transformer, given[:1])
    ran = run_as_c(deployment.generated, [given])
    torch.testing.assert_close(ran.outputs[0], deployment(given)[0], rtol=0, atol=SEAM)


def test_whole_numbers_have_them_as_tables() -> None:
    transformer, given = network("vit").float(), images(4).float()
    with approximate(transformer, Polynomials()), torch.no_grad():
        expected = transformer(given)
        whole = whole_network(transformer, given[:1], [given], IntegerForm(rescale="multiplier"))
    kinds = [type(node.operation).__name__ for node in whole.graph.nodes]
    assert "Lookup" in kinds
    (found,) = run_batch(whole.graph, [given])
    assert (found - expected).norm() < 0.1 * expected.norm()
