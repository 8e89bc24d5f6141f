"""The page on adding a scheme, followed to the letter."""

import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from spokeshave.compiler.compile import compile_network
from spokeshave.errors import SpokeshaveError
from spokeshave.methods.group_lasso import ReweightedGroupLasso
from spokeshave.methods.one_shot import OneShot
from spokeshave.methods.session import begin
from spokeshave.plan import Plan
from spokeshave.schemes.quantizers import FixedPoint
from spokeshave.schemes.registry import SCHEMES
from spokeshave.schemes.scheme import Scheme

PAGE = Path(__file__).parents[2] / "docs" / "adding-a-scheme.md"
WHOLE = re.compile(r"```yaml\n(.*?)```", re.DOTALL)
PLAN = 'version: 1\nlayers:\n  "1": {scheme: row_balanced, sparsity: 0.75}\n'


@pytest.fixture
def row_balanced() -> Iterator[type]:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(code.splitlines()) < 60
    names = {"__name__": "page"}
    exec(compile(code, str(PAGE), "exec"), names)
    yield names["RowBalanced"]
    del SCHEMES["row_balanced"]


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def test_it_is_the_nearest_point_and_packs(row_balanced) -> None:
    scheme, weight = row_balanced(0.5), normal(4, 6)
    assert isinstance(scheme, Scheme)
    projected = scheme.project(weight)
    for row, found in zip(weight, projected, strict=True):
        best = max(sum(kept) for kept in combinations(row.square().tolist(), 3))
        assert found.square().sum().item() == pytest.approx(best)
    assert torch.equal(scheme.project(projected), projected)
    assert torch.equal(scheme.pack(projected).unpack(), projected)
    assert scheme.pack(projected).nbytes == 12 * 4 + 12 + 5


def test_what_is_wrong_is_refused(row_balanced) -> None:
    with pytest.raises(SpokeshaveError, match="row_balanced: sparsity must be a number in"):
        row_balanced(1.5)
    with pytest.raises(SpokeshaveError, match="a row keeps too many weights; project it first"):
        row_balanced(0.5).pack(normal(4, 6))
    with pytest.raises(SpokeshaveError, match="row_balanced: the weight holds infinite values or NaN"):
        row_balanced(0.5).project(torch.full((2, 2), torch.nan))


def test_a_row_that_would_be_emptied_is_refused(row_balanced) -> None:
    with pytest.raises(
        SpokeshaveError, match=r"leaves no weight in a row; for this shape it can be 0\.8333333333 at"
    ):
        row_balanced(0.95).project(normal(4, 6))


def test_the_plan_of_the_page_is_a_plan(row_balanced) -> None:
    (text,) = WHOLE.findall(PAGE.read_text(encoding="utf-8"))
    plan = Plan.from_yaml(text)
    assert plan.rules[0].scheme == row_balanced(0.9)
    network = nn.ModuleDict({"encoder": nn.Sequential(nn.Linear(10, 4)), "head": nn.Linear(4, 2)})
    assert list(plan.resolve(network)) == ["encoder.0.weight"]


def test_plans_methods_quantizers_and_the_compiler_take_it(row_balanced) -> None:
    plan = Plan.from_yaml(PLAN)
    assert Plan.from_yaml(plan.to_yaml()) == plan
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(12, 20), nn.Linear(20, 16), nn.Linear(16, 3)).eval()
    begin(OneShot(), network, plan).finish()
    assert ((network[1].weight != 0).sum(1) == 5).all()
    x = normal(3, 12)
    torch.testing.assert_close(compile_network(network, x[:1], plan)(x), network(x), rtol=1e-4, atol=1e-5)
    assert float(begin(ReweightedGroupLasso(), network, plan).penalty()) > 0
    both = row_balanced(0.75) & FixedPoint(8)
    assert both.contains(both.project(normal(8, 16)))
