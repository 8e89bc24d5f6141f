import pytest
import torch
from torch import Tensor

from spokeshave.compiler import compile_network
from spokeshave.methods import OneShot, begin
from spokeshave.networks import VisionTransformer
from spokeshave.plan import Plan, Rule
from spokeshave.schemes.quantizers import FixedPoint
from spokeshave.tokens import Gumbel, Learned, Package, TokenReducer, insert
from spokeshave.tokens.selector import Selector


@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize("taking_part", [None, (1.0, 0.0, 1.0, 1.0, 0.0)])
def test_a_perceptron_votes_on_local_and_global_features_side_by_side(
    narrow: bool, taking_part: tuple[float, ...] | None
) -> None:
    """Written out as the papers have it; a head of 9 channels has features of 4 channels each."""
    torch.manual_seed(0)
    selector, tokens = Selector(18, 2, importance=False, narrow=narrow), torch.randn(2, 5, 18)
    alive = None if taking_part is None else torch.tensor([taking_part]).expand(2, -1)

    def head(index: int, part: Tensor) -> Tensor:
        features = selector.features[index](part)
        local, shared = (features, features) if narrow else features.chunk(2, 2)
        weights = torch.ones(2, 5) if alive is None else alive
        mean = (shared * weights[:, :, None]).sum(1, keepdim=True) / weights.sum(1)[:, None, None]
        return selector.votes[index](torch.cat((local, mean.expand_as(shared)), 2)).softmax(2)[..., 0]

    expected = torch.stack([head(index, part) for index, part in enumerate(tokens.chunk(2, 2))]).mean(0)
    torch.testing.assert_close(selector(tokens, alive), expected)


def test_a_plan_confines_the_layer_that_is_compiled_in_two_parts() -> None:
    """Its halves read local and global features; what is compiled are the weights that the plan allows."""
    torch.manual_seed(0)
    network, image = (
        VisionTransformer(1, 16, 4, width=32, heads=2, blocks=2).eval(),
        torch.randn(1, 1, 16, 16),
    )
    insert(network, TokenReducer(1, Learned(), Gumbel(), Package()))
    scheme = FixedPoint(bits=4)
    plan = Plan((Rule("token_selectors.*.votes.*.0.weight", scheme), Rule("*", None)))
    names = [f"token_selectors.1.votes.{head}.0.weight" for head in (0, 1)]
    assert list(plan.resolve(network)) == names
    begin(OneShot(), network, plan).finish()
    assert all(scheme.contains(network.get_parameter(name)) for name in names)
    torch.testing.assert_close(compile_network(network, image, plan=plan)(image), network(image))
