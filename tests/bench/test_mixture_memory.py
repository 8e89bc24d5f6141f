"""The benchmark of memory at full width, on a narrow checkpoint."""

import argparse

import pytest

from bench import mixture_memory

transformers = pytest.importorskip("transformers")
NARROW = {"hidden_size": 64, "intermediate_size": 128, "num_local_experts": 8, "num_attention_heads": 4}


@pytest.mark.parametrize("scheme", mixture_memory.SCHEMES)
def test_a_narrow_checkpoint_is_written_pruned_and_checked(tmp_path, scheme):
    config = transformers.MixtralConfig(**NARROW, num_key_value_heads=2, vocab_size=100, num_hidden_layers=2)
    arguments = argparse.Namespace(scheme=scheme, sequences=4, length=32)
    figures = mixture_memory.measure(tmp_path, config, arguments)
    assert figures["layer_bytes"] == 2 * (8 * 3 * 64 * 128 + 64 * (64 + 64 + 32 + 32 + 2 + 8))
    assert len(figures["seconds_per_layer"]) == 2
    network = transformers.MixtralForCausalLM.from_pretrained(tmp_path / "pruned")
    assert network.model.layers[1].mlp.experts.down_proj.count_nonzero() == 8 * 64 * 128 // 2
