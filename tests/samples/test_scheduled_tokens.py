from tests.tokens.networks import network

from spokeshave.samples import KeepSchedule, ScheduledTokens
from spokeshave.tokens import Learned, TopK


def test_a_learned_selector_stays_while_the_share_falls() -> None:
    vit = network("vit")
    tokens = ScheduledTokens(vit, (1, 2), KeepSchedule(0.5, 0, 0.5), Learned())
    before = list(vit.parameters())
    tokens.at(3, 10)
    assert all(one is other for one, other in zip(vit.parameters(), before, strict=True))
    assert all(one.decision != TopK(1.0) for one in tokens.inserted.reducers)
