"""Masks against a plain implementation on transformers' own network, exact counts, both forms, every criterion."""

import json

import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from tests.streaming.conftest import make_network, save
from transformers import MixtralForCausalLM

from spokeshave.errors import SpokeshaveError
from spokeshave.schemes.n_of_m import NOfM
from spokeshave.schemes.ranking import kept_count
from spokeshave.schemes.unstructured import Unstructured
from spokeshave.streaming import ExpertPruning, prune_experts
from spokeshave.streaming.settings import CRITERIA

SCHEMES = (Unstructured(0.5), NOfM(2, 4), NOfM(4, 8))


def pruned(folder, output, tokens=None, **settings):
    """The network that comes out, with the report."""
    report = prune_experts(folder, output, ExpertPruning(**settings), tokens)
    return MixtralForCausalLM.from_pretrained(output), report


def expert_weights(network):
    """Every expert's matrices as `[rows, columns]` by name."""
    return {
        f"{layer} {expert} {name}": matrix
        for layer, block in enumerate(network.model.layers)
        for expert in range(network.config.num_local_experts)
        for name, matrix in (
            ("gate_up", block.mlp.experts.gate_up_proj[expert]),
            ("down", block.mlp.experts.down_proj[expert]),
        )
    }


def by_hand(network, tokens, gated):
    """MoE-Pruner and Wanda at half of every row, written down plainly, with scores in double precision."""
    model = network.float().model
    for block in model.layers:
        seen = {}
        handle = block.mlp.experts.register_forward_pre_hook(
            lambda _, inputs, seen=seen: seen.update(x=inputs)
        )
        with torch.no_grad():
            model(tokens)
        handle.remove()
        states, chosen, gates = seen["x"]
        for expert in range(network.config.num_local_experts):
            rows, place = (chosen == expert).nonzero(as_tuple=True)
            weight = (gates[rows, place] if gated else torch.ones(len(rows)))[:, None].double()
            x = states[rows]
            both, down = block.mlp.experts.gate_up_proj[expert], block.mlp.experts.down_proj[expert]
            gate, up = F.linear(x, both).chunk(2, dim=-1)
            middle = F.silu(gate) * up
            for matrix, inputs in ((both, x), (down, middle)):
                score = matrix.double().abs() * (inputs.double() * weight).norm(dim=0)
                lowest = score.argsort(dim=1)[:, : matrix.shape[1] // 2]
                with torch.no_grad():
                    matrix.scatter_(1, lowest, 0)
    return network


@pytest.mark.parametrize("window", [None, 8])
@pytest.mark.parametrize(("criterion", "gated"), [("moe_pruner", True), ("wanda", False)])
def test_weights_are_those_of_a_plain_implementation(tokens, tmp_path, criterion, gated, window):
    network = make_network(torch.float32, sliding_window=window)
    folder = save(network, tmp_path / "dense", fused=True, shards=2)
    found, report = pruned(folder, tmp_path / "out", tokens, criterion=criterion, token_floor=0)
    wanted = expert_weights(by_hand(network, tokens, gated))
    for name, matrix in expert_weights(found).items():
        assert torch.equal(matrix, wanted[name]), name
    assert sum(expert["tokens"] for expert in report["layers"][0]["experts"]) == tokens.numel() * 2


def test_bfloat16_weights_are_those_of_a_plain_implementation_but_for_ties(fused, tokens, tmp_path):
    found, _ = pruned(fused, tmp_path / "out", tokens, token_floor=0)
    wanted = expert_weights(by_hand(make_network(), tokens, gated=True))
    same = torch.cat(
        [(matrix.float() == wanted[name]).flatten() for name, matrix in expert_weights(found).items()]
    )
    assert same.double().mean() > 0.999


def test_everything_else_is_as_it_was(network, separate, tokens, tmp_path):
    found, _ = pruned(separate, tmp_path / "out", tokens)
    before = network.state_dict()
    changed = {name for name, tensor in found.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {name for name in before if ".experts." in name}
    assert found.dtype == torch.bfloat16


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
@pytest.mark.parametrize("criterion", CRITERIA)
def test_counts_are_exact(fused, tokens, tmp_path, scheme, criterion):
    found, report = pruned(fused, tmp_path / "out", tokens, scheme=scheme, criterion=criterion)
    for matrix in expert_weights(found).values():
        length = scheme.length if isinstance(scheme, NOfM) else matrix.shape[1]
        kept = matrix.view(-1, length).count_nonzero(dim=1)
        assert bool((kept == length // 2).all())
    assert report["density"] == 0.5
    assert {expert["density"] for layer in report["layers"] for expert in layer["experts"]} == {0.5}


def test_a_sparsity_that_no_row_divides_is_rounded(fused, tmp_path):
    found, _ = pruned(fused, tmp_path / "out", scheme=Unstructured(0.7), criterion="magnitude")
    for matrix in expert_weights(found).values():
        assert bool((matrix.count_nonzero(dim=1) == kept_count(matrix.shape[1], 0.7)).all())


@pytest.mark.parametrize("criterion", CRITERIA)
def test_fused_and_separate_experts_lose_the_same_weights(fused, separate, tokens, tmp_path, criterion):
    first, _ = pruned(fused, tmp_path / "fused", tokens, criterion=criterion)
    second, _ = pruned(separate, tmp_path / "separate", tokens, criterion=criterion)
    for name, matrix in expert_weights(first).items():
        assert torch.equal(matrix, expert_weights(second)[name]), name
    assert "block_sparse_moe" in _names(tmp_path / "separate")
    assert "gate_up_proj" in _names(tmp_path / "fused")


def test_with_gates_of_one_it_is_wanda_bit_for_bit(tokens, tmp_path):
    """One expert a token: its gate is the softmax of one number."""
    folder = save(make_network(num_experts_per_tok=1), tmp_path / "top1", fused=True)
    for criterion in ("moe_pruner", "wanda"):
        prune_experts(folder, tmp_path / criterion, ExpertPruning(criterion=criterion, token_floor=1), tokens)
    assert _contents(tmp_path / "moe_pruner") == _contents(tmp_path / "wanda")


def test_gates_matter(fused, tokens, tmp_path):
    for criterion in ("moe_pruner", "wanda"):
        prune_experts(fused, tmp_path / criterion, ExpertPruning(criterion=criterion), tokens)
    assert _contents(tmp_path / "moe_pruner") != _contents(tmp_path / "wanda")


def test_experts_below_the_token_floor_are_pruned_by_weights_alone(fused, tokens, tmp_path):
    found, report = pruned(fused, tmp_path / "out", tokens, token_floor=10**6)
    by_magnitude, _ = pruned(fused, tmp_path / "magnitude", criterion="magnitude")
    assert report["below_token_floor"] == 12
    for name, matrix in expert_weights(found).items():
        assert torch.equal(matrix, expert_weights(by_magnitude)[name])


def test_random_depends_on_the_seed_alone(fused, tmp_path):
    for name, seed in (("one", 1), ("again", 1), ("two", 2)):
        prune_experts(fused, tmp_path / name, ExpertPruning(criterion="random", seed=seed))
    assert _contents(tmp_path / "one") == _contents(tmp_path / "again") != _contents(tmp_path / "two")


def test_the_report_is_in_the_folder(fused, tokens, tmp_path):
    report = prune_experts(fused, tmp_path / "out", tokens=tokens)
    assert json.loads((tmp_path / "out" / "pruning_report.json").read_text()) == report
    assert (report["sequences"], report["length"], len(report["layers"])) == (6, 24, 3)
    assert report["layers"][1]["imbalance"] >= 0
    assert not (tmp_path / "out" / "unfinished").exists()


def test_progress_counts_experts(fused, tmp_path):
    seen = []
    prune_experts(
        fused,
        tmp_path / "out",
        ExpertPruning(criterion="magnitude"),
        progress=lambda *told: seen.append(told),
    )
    assert [done for done, _, _ in seen] == list(range(12))
    assert seen[-1] == (11, 12, "layer 3 of 3")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"criterion": "taylor"}, "there is no criterion 'taylor' for experts"),
        ({"scheme": "2:4"}, "Unstructured or NOfM"),
        ({"token_floor": -1}, "token_floor must be a whole number from 0 up, not -1"),
        ({"seed": "a"}, "seed must be a whole number from 0 up, not 'a'"),
        ({"seed": 0.5}, "seed must be a whole number from 0 up, not 0.5"),
    ],
)
def test_wrong_settings_are_refused(settings, sentence):
    with pytest.raises(SpokeshaveError, match=sentence):
        ExpertPruning(**settings)


def _contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.safetensors"))}


def _names(folder):
    return " ".join(
        name
        for path in folder.glob("*.safetensors")
        for name in safe_open(path, framework="pt").keys()  # noqa: SIM118
    )
