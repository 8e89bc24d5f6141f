"""A small Mixtral with random weights in both forms on disk, and calibration tokens."""

import json
import shutil

import pytest
import torch
from safetensors.torch import save_file

transformers = pytest.importorskip("transformers")

CONFIG = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_local_experts": 4,
    "max_position_embeddings": 64,
}


def make_network(dtype=torch.bfloat16, **changes):
    torch.manual_seed(0)
    config = transformers.MixtralConfig(**CONFIG | {"initializer_range": 0.2} | changes)
    return transformers.MixtralForCausalLM(config).to(dtype).eval()


def save(network, folder, fused, shards=1):
    """Write a checkpoint; more than one shard needs `fused`, so that names are those of the network."""
    network.save_pretrained(folder)
    if not fused:
        return folder
    tensors = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    (folder / "model.safetensors").unlink()
    names = [f"model-{number + 1:05d}-of-{shards:05d}.safetensors" for number in range(shards)]
    places = {tensor: names[number % shards] for number, tensor in enumerate(tensors)}
    for name in names:
        chosen = {tensor: tensors[tensor] for tensor, place in places.items() if place == name}
        save_file(chosen, folder / name, metadata={"format": "pt"})
    document = {"metadata": {"total_size": 0}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(document))
    return folder


@pytest.fixture(scope="session")
def network():
    return make_network()


@pytest.fixture(scope="session")
def separate(network, tmp_path_factory):
    """One file, an expert's matrices in tensors of their own."""
    return save(network, tmp_path_factory.mktemp("separate"), fused=False)


@pytest.fixture(scope="session")
def fused(network, tmp_path_factory):
    """Three shards, experts in 3-D tensors."""
    return save(network, tmp_path_factory.mktemp("fused"), fused=True, shards=3)


@pytest.fixture
def copied(fused, tmp_path):
    """A copy of the fused checkpoint that may be damaged."""
    return shutil.copytree(fused, tmp_path / "copied")


@pytest.fixture(scope="session")
def tokens():
    return torch.randint(96, (6, 24), generator=torch.Generator().manual_seed(1))


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
