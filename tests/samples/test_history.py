import torch
import torch.nn.functional as F

from spokeshave.samples.history import Epoch, History
from spokeshave.samples.scores import SCORES, forgetting


def of(*epochs: str) -> History:
    """A history by hand: `1` right, `0` wrong, `-` not seen; one letter an example."""
    history = History.empty(len(epochs[0]))
    for letters in epochs:
        epoch = Epoch.empty(len(letters))
        for number, letter in enumerate(letters):
            if letter != "-":
                score = torch.tensor([[0.0, 1.0 if letter == "1" else -1.0]])
                epoch.add(torch.tensor([number]), score, torch.tensor([1]))
        history = history.after(epoch)
    return history


def test_forgetting_counts_of_histories_by_hand() -> None:
    history = of("1110-", "1010-", "1100-", "1010-")
    assert forgetting(history).tolist() == [0, 2, 1, torch.inf, torch.inf]


def test_an_epoch_without_an_example_forgets_nothing() -> None:
    assert forgetting(of("1", "-", "1")).tolist() == [0]
    assert forgetting(of("1", "-", "0")).tolist() == [1]


def test_several_presentations_in_one_epoch_are_right_when_all_are() -> None:
    epoch = Epoch.empty(1)
    numbers, labels = torch.tensor([0, 0]), torch.tensor([1, 1])
    epoch.add(numbers, torch.tensor([[0.0, 1.0], [1.0, 0.0]]), labels)
    history = of("1").after(epoch)
    assert history.forgotten.tolist() == [1]
    assert epoch.seen.tolist() == [2]


def test_gradient_norms_are_those_of_autograd() -> None:
    scores = torch.randn(6, 4, requires_grad=True)
    labels = torch.randint(4, (6,))
    epoch = Epoch.empty(6)
    epoch.add(torch.arange(6), scores, labels)
    F.cross_entropy(scores, labels, reduction="sum").backward()
    assert scores.grad is not None
    assert torch.allclose(epoch.gradient, scores.grad.norm(dim=1), atol=1e-6)
    assert torch.allclose(epoch.loss.sum(), F.cross_entropy(scores, labels, reduction="sum"))


def test_what_was_not_seen_is_never_easy() -> None:
    history = of("1-")
    for name in ("forgetting", "loss", "gradient_norm"):
        assert SCORES[name](history).argmax() == 1, name


def test_a_state_gives_the_history_back() -> None:
    history = of("10", "01")
    again = History.of(history.state())
    assert all(torch.equal(again.state()[name], value) for name, value in history.state().items())
