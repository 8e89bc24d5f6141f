"""`spokeshave prune-experts` on a small Mixtral, with token numbers and with text."""

import json

import numpy as np
import pytest
import torch

transformers = pytest.importorskip("transformers")


@pytest.fixture
def checkpoint(folder):
    """A checkpoint without a tokenizer."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_local_experts": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 40}
    transformers.MixtralForCausalLM(transformers.MixtralConfig(**sizes, **heads)).save_pretrained("mixtral")
    np.save("ids.npy", np.arange(1000) % 40)
    return folder / "mixtral"


def test_token_numbers(checkpoint, spokeshave):
    options = ("--data", "ids.npy", "--scheme", "2:4", "--sequences", "4", "--length", "32")
    code, out, err = spokeshave("prune-experts", "mixtral", "--output", "pruned", *options)
    assert code == 0, err
    assert out.startswith("pruned: 50.0 % of the experts' weights kept in 1 layers")
    code, out, err = spokeshave("prune-experts", "mixtral", "--output", "again", *options, "--json")
    assert code == 0, err
    report = json.loads(out)
    assert (report["sequences"], report["length"], report["density"]) == (4, 32, 0.5)


def test_text_by_the_tokenizer_of_the_checkpoint(checkpoint, spokeshave):
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = ["[UNK]", *["the", "cat", "sat", "on", "a", "mat"]]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(checkpoint)
    (checkpoint.parent / "text.txt").write_text("the cat sat on a red mat\n" * 40)
    command = (
        "prune-experts",
        "mixtral",
        "--output",
        "pruned",
        "--data",
        "text.txt",
        "--length",
        "16",
        "--json",
    )
    code, out, err = spokeshave(*command)
    assert code == 0, err
    assert json.loads(out)["sequences"] == 17
    assert (checkpoint.parent / "pruned" / "tokenizer.json").exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--scheme", "half"], "--scheme half is neither a share such as 0.5 nor N:M such as 2:4"),
        (["--scheme", "4:2"], "kept 4 must not be above length 2"),
        ([], "needs calibration tokens"),
        (["--data", "none.npy"], "there is no file none.npy"),
        (["--data", "ids.npy"], "has 1000 tokens, fewer than one sequence of 2048"),
        (["--data", "ids.npy", "--criterion", "magnitude"], "would not be looked at"),
        (["--data", "text.txt"], "has no tokenizer that can be loaded"),
        (["--data", "nowhere.txt"], "cannot be read as text"),
    ],
)
def test_mistakes(checkpoint, spokeshave, options, sentence):
    (checkpoint.parent / "text.txt").write_text("some text")
    code, _, err = spokeshave("prune-experts", "mixtral", "--output", "pruned", *options)
    assert code == 2
    assert sentence in err
    assert not (checkpoint.parent / "pruned").exists()
