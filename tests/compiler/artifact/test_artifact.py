"""Plain C: the folder, what is refused, what the texts say."""

import json
import zlib

import pytest
import torch
from torch import nn

from spokeshave.compiler import compile_network, generate, load_deployment
from spokeshave.compiler.artifact import write_artifact
from spokeshave.errors import SpokeshaveError


def test_the_folder_holds_everything_and_can_be_replaced(generated, artifact):
    files = {"model.c", "model.h", "weights.bin", "main.c", "Makefile", "README.md", "artifact.json"}
    assert {path.name for path in artifact.iterdir()} == files
    write_artifact(generated, artifact, name="face", embed=True)
    assert {path.name for path in artifact.iterdir()} == {
        "face.c", "face.h", "weights.h", "main.c", "Makefile", "README.md", "artifact.json",
    }  # fmt: skip
    assert json.loads((artifact / "artifact.json").read_text())["isa"] == "portable"


def test_a_folder_with_anything_else_is_left_alone(generated, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(SpokeshaveError, match="something else than a plain-C artefact"):
        write_artifact(generated, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("name", ["", "Face", "2d", "face-net", "main", "weights", "a b"])
def test_names_that_c_cannot_take(generated, tmp_path, name):
    with pytest.raises(SpokeshaveError, match="cannot begin C names"):
        write_artifact(generated, tmp_path / "artifact", name)


def test_weights_lie_at_multiples_of_64_bytes_in_the_order_of_the_source(generated, artifact):
    data, source = (artifact / "weights.bin").read_bytes(), (artifact / "model.c").read_text()
    (segment,) = generated.manifest.stages
    offsets = [
        int(n) for n in source.split("constant_offsets[CONSTANTS + 1] = {")[1].split("}")[0].split(",")
    ]
    for name, offset in zip(segment.constants, offsets, strict=False):
        assert offset % 64 == 0
        content = generated.tensors[name].numpy().tobytes()
        assert data[offset : offset + len(content)] == content
    assert f"0x{zlib.crc32(data):08X}u" in source


def test_a_deployment_and_a_loaded_one_give_the_same_c(tmp_path):
    torch.manual_seed(0)
    network = nn.Linear(6, 3)
    deployment = compile_network(network, torch.zeros(1, 6))
    deployment.save(tmp_path / "saved")
    deployment.export_c(tmp_path / "a")
    load_deployment(tmp_path / "saved").export_c(tmp_path / "b")
    write_artifact(generate(network, torch.zeros(1, 6)), tmp_path / "c")
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()
        assert file.read_bytes() == (tmp_path / "c" / file.name).read_bytes()


def test_operators_that_need_pytorch_are_named(tmp_path):
    class Sorted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(6, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(x).sort(-1)[0]

    with pytest.raises(SpokeshaveError, match=r"plain C cannot run what needs PyTorch: .*sort"):
        write_artifact(generate(Sorted(), torch.zeros(1, 6)), tmp_path / "artifact")
    assert not (tmp_path / "artifact").exists()


def test_an_output_that_is_a_weight_is_refused(tmp_path):
    class WithScale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.scale = nn.Linear(6, 3), nn.Parameter(torch.ones(1, 3))

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return self.layer(x), self.scale

    with pytest.raises(SpokeshaveError, match="is a weight"):
        write_artifact(generate(WithScale(), torch.zeros(1, 6)), tmp_path / "artifact")


def test_the_readme_lists_inputs_and_outputs(tmp_path):
    class Headed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(6, 3)

        def forward(self, image: torch.Tensor) -> dict:
            return {'a "quoted" name': self.layer(image)}

    write_artifact(generate(Headed(), torch.zeros(1, 6)), tmp_path / "artifact")
    readme, source = ((tmp_path / "artifact" / file).read_text() for file in ("README.md", "model.c"))
    assert "| input | image | float32 | 6 | 24 |" in readme
    assert "| output | output.a__quoted__name | float32 | 3 | 12 |" in readme
    assert '{"output.a__quoted__name", "float32", 1, output_0_shape, 12}' in source
