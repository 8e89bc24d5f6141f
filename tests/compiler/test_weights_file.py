import torch
from safetensors.torch import load_file, save_file

from spokeshave.compiler.runtime import ALIGNMENT_BYTES
from spokeshave.compiler.weights_file import DTYPES, load_aligned, save_weights


def check(found, expected):
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)
        assert tensor.numel() == 0 or found[name].data_ptr() % ALIGNMENT_BYTES == 0


def test_it_reads_what_safetensors_reads(tmp_path):
    tensors = {
        f"{dtype}-{size}": torch.arange(size).to(dtype) for dtype in DTYPES.values() for size in (0, 1, 7, 65)
    } | {"scalar": torch.tensor(2.5), "matrix": torch.randn(3, 5)}
    save_file(tensors, tmp_path / "weights.safetensors", {"about": "a header with metadata"})
    check(load_aligned(tmp_path / "weights.safetensors"), load_file(tmp_path / "weights.safetensors"))
    check(load_aligned(tmp_path / "weights.safetensors"), tensors)


def test_a_file_of_no_tensors(tmp_path):
    save_weights({}, tmp_path / "weights.safetensors")
    assert load_aligned(tmp_path / "weights.safetensors") == {}


def test_places_are_stored_in_8_or_16_bits_and_come_back_as_they_were(tmp_path):
    generator = torch.Generator().manual_seed(0)
    few = torch.randint(-(2**31), 2**31, (1 << 16,), generator=generator)
    tensors = {
        "few different": few[torch.randint(100, (50_000,), generator=generator)].int(),
        "as many as fit": few.repeat(3).int(),
        "too many": torch.arange(70_000).repeat(3).int(),
        "all different": few.int(),
        "none": torch.zeros(0, dtype=torch.int32),
        "one": torch.tensor([-7], dtype=torch.int32),
        "matrix": torch.randint(9, (30, 40), generator=generator).int(),
    }
    save_weights(tensors, tmp_path / "weights.safetensors")
    check(load_aligned(tmp_path / "weights.safetensors"), tensors)
    stored = load_file(tmp_path / "weights.safetensors")
    assert stored["few different/numbers"].element_size() == 1
    assert stored["as many as fit/numbers"].element_size() == 2
    assert {"too many", "all different", "none", "one"} <= stored.keys()


def test_weights_of_few_levels_take_a_byte_each_and_come_back_to_the_bit(tmp_path):
    generator = torch.Generator().manual_seed(0)
    levels = torch.randn(15, generator=generator)
    tensors = {
        "codes": levels[torch.randint(15, (64, 256), generator=generator)],
        "signs of zero": torch.tensor([0.0, -0.0]).repeat(500),
        "rows": torch.randint(-7, 8, (256, 256), generator=generator)
        * torch.rand(256, 1, generator=generator),
        "dense": torch.randn(64, 256, generator=generator),
    }
    save_weights(tensors, tmp_path / "weights.safetensors")
    found = load_aligned(tmp_path / "weights.safetensors")
    check(found, tensors)
    assert torch.equal(found["signs of zero"].signbit(), tensors["signs of zero"].signbit())
    stored = load_file(tmp_path / "weights.safetensors")
    assert stored["codes/numbers"].element_size() == 1
    assert stored["rows/numbers"].element_size() == 2
    assert "dense" in stored
