import pytest
import torch
from torch import Tensor

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
