import torch
from safetensors.torch import load_file, save_file

from spokeshave.compiler.runtime import ALIGNMENT_BYTES
from spokeshave.compiler.weights_file import DTYPES, load_aligned


def test_it_reads_what_safetensors_reads(tmp_path):
    tensors = {
        f"{dtype}-{size}": torch.arange(size).to(dtype) for dtype in DTYPES.values() for size in (0, 1, 7, 65)
    } | {"scalar": torch.tensor(2.5), "matrix": torch.randn(3, 5)}
    save_file(tensors, tmp_path / "weights.safetensors", {"about": "a header with metadata"})
    ours, theirs = load_aligned(tmp_path / "weights.safetensors"), load_file(tmp_path / "weights.safetensors")
    assert ours.keys() == theirs.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert ours[name].dtype == tensor.dtype
        assert torch.equal(ours[name], tensor)
        assert tensor.numel() == 0 or ours[name].data_ptr() % ALIGNMENT_BYTES == 0


def test_a_file_of_no_tensors(tmp_path):
    save_file({}, tmp_path / "weights.safetensors")
    assert load_aligned(tmp_path / "weights.safetensors") == {}
