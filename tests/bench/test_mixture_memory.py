"""The benchmark of memory at full width, on a narrow checkpoint."""

import argparse

import pytest

from bench import mixture_memory

transformers = pytest.importorskip("transformers")
NARROW = {"hidden_size": 64, "intermediate_size": 128, "num_local_experts": 8, "num_attention_heads": 4}


@pytest.mark.slow
def test_a_narrow_checkpoint_is_written_pruned_killed_resumed_and_checked(tmp_path):
    config = transformers.MixtralConfig(**NARROW, num_key_value_heads=2, vocab_size=100, num_hidden_layers=2)
    arguments = argparse.Namespace(scheme="2:4", sequences=4, length=32, threads=1)
    figures = mixture_memory.measure(tmp_path, config, arguments)
    assert figures["layer_bytes"] == 2 * (8 * 3 * 64 * 128 + 64 * (64 + 64 + 32 + 32 + 2 + 8))
    assert len(figures["seconds_per_layer"]) == 2
    assert figures["whole_layers_kept"] == 1
    assert figures["resident_before_bytes"] <= figures["peak_resident_bytes"]
    assert max(size for _, size in figures["trace"]) <= figures["peak_resident_bytes"]
    assert sum(size == 0 for _, size in figures["trace"]) >= 2  # where each process begins
    drawn = mixture_memory.write_memory_plot({"runs": [figures | {"limit_bytes": 10**9}]}, tmp_path / "a.svg")
    assert drawn.read_text().count("<polyline") == 2
    network = transformers.MixtralForCausalLM.from_pretrained(tmp_path / "pruned")
    assert network.model.layers[1].mlp.experts.down_proj.count_nonzero() == 8 * 64 * 128 // 2
