import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spokeshave.errors import SpokeshaveError
from spokeshave.samples import ExamplePruning


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"keep": 0.0}, "keep is the share of examples that stays, above 0 and at most 1, not 0.0"),
        ({"keep": 1.2}, "above 0 and at most 1, not 1.2"),
        ({"swap": 0.3}, "swap must be from 0 to 0.2"),
        ({"swap": -0.1}, "swap must be from 0 to 0.2"),
        ({"every": 0}, "every must be at least 1 epoch"),
        ({"every": 1.5}, "both whole, not 1.5 and 150"),
        ({"score": "luck"}, "no score 'luck'; known ones are forgetting, loss, gradient_norm, random"),
    ],
)
def test_wrong_settings_are_one_sentence(settings: dict[str, float], sentence: str) -> None:
    with pytest.raises(SpokeshaveError, match=sentence):
        ExamplePruning(**settings)


def test_exchanges_after_the_training_are_refused() -> None:
    with pytest.raises(SpokeshaveError, match="after epoch 150, would do nothing in a training of 100"):
        ExamplePruning().check_epochs(100)


def test_the_authors_exchange_five_times() -> None:
    pruning = ExamplePruning()
    assert [epoch for epoch in range(301) if pruning.exchanges_after(epoch)] == [30, 60, 90, 120, 150]


@settings(deadline=None)
@given(st.integers(1, 400), st.floats(0.01, 1.0))
def test_schedules_by_parts_of_a_training_fit_into_it(epochs: int, keep: float) -> None:
    ExamplePruning.for_epochs(epochs, keep).check_epochs(epochs)
