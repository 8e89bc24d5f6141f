"""Running graphs and single operators with PyTorch."""

import pytest
import torch

from spokeshave.compiler.graph import Graph, Node, Value
from spokeshave.compiler.operations import Affine, Foreign, Pool
from spokeshave.compiler.reference import run_foreign, run_operation, run_reference
from spokeshave.errors import SpokeshaveError


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "aten",
        "aten.no_such_operator.default",
        "aten.__class__.default",
        "aten.relu.no_such_overload",
        "aten.relu",
        "aten.from_file.default",
        "aten.name.default",
    ],
)
def test_only_operators_of_aten_run(target):
    with pytest.raises(SpokeshaveError, match="has no operator"):
        run_foreign(Foreign(target, "[[], {}]", ""), {}, {})


def test_values_without_the_sample_axis():
    """The network multiplied two matrices [3, 4] and [4, 2]; the values have the sample axis besides."""
    arguments = '[[{"value": "a", "unbatched": true}, {"weight": "b"}], {}]'
    a, b = torch.randn(1, 3, 4), torch.randn(4, 2)
    (result,) = run_foreign(Foreign("aten.mm.default", arguments, ""), {"a": a}, {"b": b})
    torch.testing.assert_close(result, a @ b)


def test_keyword_arguments_and_element_types():
    arguments = '[[{"value": "a"}, [1]], {"dtype": {"dtype": "float64"}}]'
    a = torch.randn(1, 3)
    (result,) = run_foreign(Foreign("aten.sum.dim_IntList", arguments, ""), {"a": a}, {})
    torch.testing.assert_close(result, a.double().sum(1))


def test_a_batch_runs_sample_by_sample():
    """Reshaping to [1, 6] was recorded for one sample; the weight that is an output stays as it is."""
    foreign = Foreign("aten.view.default", '[[{"value": "x"}, [1, 6]], {}]', "")
    values = {"x": Value("x", (1, 2, 3)), "y": Value("y", (1, 6))}
    graph = Graph(("x",), ("y", "w"), values, (Node("n", foreign, ("x",), ("y",)),), {"w": torch.ones(2)})
    x = torch.randn(4, 2, 3)
    y, w = run_reference(graph, [x])
    assert torch.equal(y, x.reshape(4, 6))
    assert torch.equal(w, torch.ones(2))


def test_the_declared_size_settles_ceil_mode():
    x = torch.randn(1, 2, 6, 6)
    pool = Pool("max", (3, 3), (2, 2))
    for ceil, size in ((False, 2), (True, 3)):
        (result,) = run_operation(pool, [x], {}, (1, 2, size, size), {})
        torch.testing.assert_close(result, torch.nn.functional.max_pool2d(x, 3, 2, ceil_mode=ceil))


def test_an_affine_scales_channels_not_columns():
    x, weights = torch.randn(1, 2, 3, 2), {"s": torch.tensor([2.0, 3.0]), "t": torch.tensor([1.0, -1.0])}
    (result,) = run_operation(Affine("s", "t"), [x], weights, (1, 2, 3, 2), {})
    torch.testing.assert_close(result[0, 1], x[0, 1] * 3 - 1)
