"""What is wrong with a checkpoint, data or an output folder is one sentence, and no checkpoint comes of it."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from spokeshave.errors import SpokeshaveError
from spokeshave.schemes.n_of_m import NOfM
from spokeshave.schemes.unstructured import Unstructured
from spokeshave.streaming import ExpertPruning, prune_experts, sequences_of, tokenized

SHARD = "model-00002-of-00003.safetensors"
EXPERTS = "model.layers.1.mlp.experts.gate_up_proj"


BY_WEIGHTS = ExpertPruning(criterion="magnitude")


def refused(folder, output, tokens, sentence, settings=None):
    with pytest.raises(SpokeshaveError, match=sentence) as refusal:
        prune_experts(folder, output, settings, tokens)
    assert "\n" not in str(refusal.value)
    assert not (output / "config.json").exists()


def refused_at_once(folder, output, tokens, sentence, settings=None):
    """Before anything is written."""
    refused(folder, output, tokens, sentence, settings)
    assert not output.exists()


def change(folder, name, value):
    """Set an entry of the config; None removes it."""
    path = folder / "config.json"
    document = json.loads(path.read_text())
    document[name] = value
    path.write_text(json.dumps({key: entry for key, entry in document.items() if entry is not None}))


def rewrite(folder, name, change_tensor):
    """Change one tensor, or drop it where the change gives None."""
    for path in folder.glob("*.safetensors"):
        tensors = load_file(path)
        if name in tensors:
            changed = {key: change_tensor(t) if key == name else t for key, t in tensors.items()}
            kept = {key: tensor for key, tensor in changed.items() if tensor is not None}
            save_file(kept, path, metadata={"format": "pt"})


def with_nan(tensor):
    tensor.view(-1)[7] = torch.nan
    return tensor


def edit_header(path, edit):
    """Change the description of a file's first tensor, not its bytes."""
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    edit(next(entry for name, entry in header.items() if name != "__metadata__"))
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[end:])


def add_tensors(folder, tensors):
    """Put more tensors into a checkpoint of several shards, in one of their own."""
    save_file(tensors, folder / "more.safetensors")
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    index["weight_map"] |= dict.fromkeys(tensors, "more.safetensors")
    path.write_text(json.dumps(index))


def test_no_folder(tmp_path, tokens):
    refused(tmp_path / "nowhere", tmp_path / "out", tokens, "there is no folder")


def test_a_missing_shard(copied, tmp_path, tokens):
    (copied / SHARD).unlink()
    refused(copied, tmp_path / "out", tokens, f"there is no file .*{SHARD}")
    (copied / "model.safetensors.index.json").unlink()
    refused(
        copied, tmp_path / "out", tokens, "has neither model.safetensors.index.json nor model.safetensors"
    )


@pytest.mark.parametrize("left", [0, 5, 300, -1])
def test_a_shard_cut_short(copied, tmp_path, tokens, left):
    """At nothing, within the length, within the header, by one byte."""
    content = (copied / SHARD).read_bytes()
    (copied / SHARD).write_bytes(content[:left])
    refused(copied, tmp_path / "out", tokens, f"{SHARD} is (damaged or )?cut short")


def test_a_shard_cut_short_while_it_is_read(copied, tmp_path, tokens):
    def cut(done, total, note):
        content = (copied / SHARD).read_bytes()
        (copied / SHARD).write_bytes(content[: len(content) // 4])

    with pytest.raises(SpokeshaveError, match="is cut short"):
        prune_experts(copied, tmp_path / "out", tokens=tokens, progress=cut)


def test_a_header_that_is_no_json(copied, tmp_path, tokens):
    content = (copied / SHARD).read_bytes()
    (copied / SHARD).write_bytes(content[:8] + b"?" + content[9:])
    refused(copied, tmp_path / "out", tokens, f"{SHARD} is damaged")


@pytest.mark.parametrize(
    "entry", [{"data_offsets": [0.5, 8]}, {"dtype": "F32"}, {"shape": [1]}, {"shape": "wide"}]
)
def test_a_header_that_disagrees_with_its_bytes(copied, tmp_path, tokens, entry):
    edit_header(copied / SHARD, lambda first: first.update(entry))
    refused_at_once(copied, tmp_path / "out", tokens, f"{SHARD} is damaged")


@pytest.mark.parametrize("settings", [None, BY_WEIGHTS])
@pytest.mark.parametrize(
    "name",
    [
        EXPERTS,
        "model.layers.2.self_attn.k_proj.weight",
        "model.layers.0.mlp.gate.weight",
        "model.layers.1.input_layernorm.weight",
        "model.norm.weight",
        "lm_head.weight",
    ],
)
def test_nan_weights(copied, tmp_path, tokens, name, settings):
    """Those that are copied as they are, too."""
    rewrite(copied, name, with_nan)
    refused(
        copied, tmp_path / "out", tokens, rf"model-0000\d-of-00003.safetensors: {name} holds NaN", settings
    )


def test_nan_outside_the_layers_is_told_before_any_layer(copied, tmp_path, tokens):
    rewrite(copied, "lm_head.weight", with_nan)
    refused(copied, tmp_path / "out", tokens, "lm_head")
    assert not list((tmp_path / "out").glob("model-*"))


def test_an_expert_of_zeros(copied, tmp_path, tokens):
    def without_the_third(tensor):
        tensor[2] = 0
        return tensor

    rewrite(copied, "model.layers.1.mlp.experts.down_proj", without_the_third)
    sentence = "layers.1, expert 2: .*-of-00003.safetensors: .*down_proj holds zeros alone in rows 64 to 95"
    refused(copied, tmp_path / "out", tokens, sentence)
    refused(copied, tmp_path / "again", None, sentence, BY_WEIGHTS)


def test_experts_in_both_forms(copied, separate, tmp_path, tokens):
    apart = load_file(separate / "model.safetensors")
    add_tensors(copied, {name: tensor for name, tensor in apart.items() if ".experts." in name})
    sentence = r"more.safetensors holds .*experts.0.w1.weight beside .*down_proj: experts must be in one form"
    refused_at_once(copied, tmp_path / "out", tokens, sentence)


def test_an_expert_too_many(copied, tmp_path, tokens):
    add_tensors(copied, {"model.layers.2.mlp.experts.gate_up_proj_scale": torch.ones(4)})
    refused_at_once(copied, tmp_path / "out", tokens, "more.safetensors holds .*scale beside")


def test_weights_that_overflow(copied, tmp_path, tokens):
    rewrite(copied, "model.layers.0.mlp.experts.down_proj", lambda tensor: tensor + 3e38)
    refused(copied, tmp_path / "out", tokens, "model.layers.0, expert 0: .*infinite")


def test_states_that_overflow(copied, tmp_path, tokens):
    rewrite(copied, "model.layers.0.self_attn.o_proj.weight", lambda tensor: tensor + 3e38)
    refused(copied, tmp_path / "out", tokens, "the calibration states are not finite")


def test_weights_of_another_type(copied, tmp_path, tokens):
    rewrite(copied, EXPERTS, lambda tensor: tensor.to(torch.float8_e4m3fn))
    refused_at_once(copied, tmp_path / "out", tokens, "F8_E4M3; weights must be of one of F32, F16, BF16")


def test_a_tensor_that_the_index_promises(copied, tmp_path, tokens):
    rewrite(copied, EXPERTS, lambda tensor: None)
    refused(copied, tmp_path / "out", tokens, f"lacks {EXPERTS}")


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("model_type", "llama", "'llama'; only mixtral"),
        ("model_type", None, "None; only mixtral"),
        ("hidden_size", 64, r"has shape \(96, 32\), .*asks for \(96, 64\)"),
        ("hidden_size", "wide", "is no config of a Mixtral"),
        ("hidden_act", "zzz", "hidden_act 'zzz' is no activation"),
        ("num_experts_per_tok", 9, "num_experts_per_tok must be from 1 to the 4 experts, not 9"),
        ("intermediate_size", 40, "has shape"),
        ("num_local_experts", 8, "has shape"),
        ("num_hidden_layers", 4, "has no tensor model.layers.3"),
        ("num_hidden_layers", 2, "has model.layers.2.* only 2 layers"),
        ("num_hidden_layers", 0, "num_hidden_layers must be a whole number from 1 up"),
        ("num_key_value_heads", 4, "k_proj.weight has shape"),
        ("rms_norm_eps", float("nan"), "rms_norm_eps must be above 0 and finite"),
        ("sliding_window", 0, "sliding_window must be a whole number from 1 up"),
        ("rope_parameters", {"rope_type": "zz"}, "transformers builds no layer from .*config.json: .*'zz'"),
    ],
)
def test_a_config_that_does_not_fit(copied, tmp_path, tokens, name, value, sentence):
    change(copied, name, value)
    refused_at_once(copied, tmp_path / "out", tokens, sentence)


def test_too_few_experts_in_the_config_of_separate_ones(separate, tmp_path, tokens):
    import shutil

    folder = shutil.copytree(separate, tmp_path / "copied")
    change(folder, "num_local_experts", 2)
    refused(folder, tmp_path / "out", tokens, "gate.weight has shape")


def test_a_config_that_is_no_json(copied, tmp_path, tokens):
    (copied / "config.json").write_text("{")
    refused(copied, tmp_path / "out", tokens, "config.json cannot be read")
    (copied / "config.json").unlink()
    refused(copied, tmp_path / "out", tokens, "there is no file .*config.json")


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (None, "needs calibration tokens"),
        (torch.zeros(4, dtype=torch.int64), r"shape \(4,\)"),
        (torch.zeros(2, 4), "type torch.float32"),
        (torch.full((2, 4), 96), "from 96 to 96; the checkpoint's vocabulary is from 0 to 95"),
        (torch.full((2, 4), -1), "from -1 to -1"),
        (torch.ones(2, 4, dtype=torch.int64).to_sparse(), "sparse_coo .* in a dense tensor are needed"),
        (torch.ones(2, 4, dtype=torch.int64, device="meta"), "on meta"),
    ],
)
def test_wrong_tokens(fused, tmp_path, wrong, sentence):
    refused(fused, tmp_path / "out", wrong, sentence)


@pytest.mark.parametrize(
    ("scheme", "nearest", "possible"),
    [
        (NOfM(32, 64), "length can be 32 at most", NOfM(32, 32)),
        (Unstructured(0.999), "it can be 0.96875 at most", Unstructured(0.96875)),
    ],
)
def test_a_scheme_that_rows_are_too_short_for(fused, tmp_path, tokens, scheme, nearest, possible):
    sentence = f"cannot serve the experts' rows of 32 weights: .*{nearest}"
    refused_at_once(fused, tmp_path / "out", tokens, sentence, ExpertPruning(scheme))
    prune_experts(fused, tmp_path / "out", ExpertPruning(possible), tokens)


def test_an_output_folder_that_is_in_use(fused, tmp_path, tokens):
    (tmp_path / "notes.txt").write_text("mine")
    refused(fused, tmp_path, tokens, "holds something already")
    refused(fused, tmp_path / "notes.txt", tokens, "is a file")
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_finished_folder_is_not_written_again(fused, tmp_path, tokens):
    prune_experts(fused, tmp_path / "out", tokens=tokens)
    with pytest.raises(SpokeshaveError, match="holds something already"):
        prune_experts(fused, tmp_path / "out", tokens=tokens)


def test_texts_that_are_too_short_and_checkpoints_without_tokenizer(fused):
    with pytest.raises(SpokeshaveError, match="has 3 tokens, fewer than one sequence of 4"):
        sequences_of(torch.arange(3), length=4, count=1)
    with pytest.raises(SpokeshaveError, match="has no tokenizer"):
        tokenized("some text", fused)


def test_arguments_of_other_kinds(copied, tmp_path, tokens):
    for given, sentence in (
        ({"settings": "2:4"}, "settings must be ExpertPruning"),
        ({"settings": {}}, "settings must be ExpertPruning"),
        ({"tokens": [[1, 2]]}, "tokens must be a tensor"),
        ({"tokens": tokens > 1}, "whole numbers"),
        ({"tokens": tokens, "progress": 5}, "progress must be a function"),
    ):
        with pytest.raises(SpokeshaveError, match=sentence):
            prune_experts(copied, tmp_path / "out", **given)
    assert not (tmp_path / "out").exists()
