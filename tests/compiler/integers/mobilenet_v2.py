"""The int8 MobileNetV2 of the shared data as a PyTorch network, and its scales as TensorFlow Lite's file has them."""

import io
import json
import zipfile
from dataclasses import dataclass, replace
from math import frexp
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from spokeshave.compiler.importer import import_program
from spokeshave.compiler.integers import IntegerForm
from spokeshave.compiler.integers.choices import Choices
from spokeshave.compiler.integers.convert import in_whole_numbers
from spokeshave.compiler.integers.plan import divide, modules
from spokeshave.compiler.integers.weights import WholeWeight
from spokeshave.compiler.operations import Binary, Convolution, Mean, Quantization, QuantizedMean
from spokeshave.compiler.passes.pipeline import optimise
from spokeshave.export import export_network

STRIDED = (0, 2, 4, 7, 14)
TRACE = Path(__file__).parent / "mobilenet_v2_trace.json"
FORM = IntegerForm(rescale="multiplier", rounding="twice", joins="separate")


@dataclass(frozen=True)
class Trace:
    """Scales that the shared file lacks, and what the reference kernels of LiteRT 2.3.0 make of sample images."""

    input: Quantization
    joins: tuple[Quantization, ...]
    mean: Quantization
    logit: Quantization
    logits: torch.Tensor
    images: tuple[int, ...]

    @classmethod
    def read(cls):
        document = json.loads(TRACE.read_text())
        return cls(
            _grid(*document["input"]),
            tuple(_grid(*entry) for entry in document["joins"]),
            _grid(*document["mean"]),
            _grid(*document["logit"]),
            torch.tensor(document["logits"], dtype=torch.int8),
            tuple(document["images"]),
        )


def _grid(scale, zero_point):
    return Quantization(float(np.float32(scale)), zero_point, -128, 127)


def first_sheet(path):
    """Images `[N, 3, H, W]`, bytes: decoding them all would take seconds."""
    with zipfile.ZipFile(path) as archive:
        meta = json.loads(archive.read("meta.json"))
        name = min(name for name in archive.namelist() if name.startswith("sheet_"))
        pixels = np.asarray(Image.open(io.BytesIO(archive.read(name))).convert("RGB"))
    tiles = pixels.reshape(meta["rows"], meta["tile_h"], meta["cols"], meta["tile_w"], 3)
    return torch.from_numpy(tiles.transpose(0, 2, 4, 1, 3).copy()).flatten(0, 1)


class MobileNetV2(nn.Module):
    """Convolutions by the names of the file; strided ones of 3 x 3 are padded below and to the right alone."""

    def __init__(self, raw):
        super().__init__()
        names = [name.removesuffix(".weight_int8") for name in raw.files if name.endswith("weight_int8")]
        self.layers = nn.ModuleDict({name.replace(".", "_"): _convolution(raw, name) for name in names})

    def forward(self, x):
        x = self._padded(x, "features_0", strided=True).clamp(0, 6)
        for index in range(1, 18):
            name = f"features_{index}_"
            y = self.layers[name + "expand"](x).clamp(0, 6) if name + "expand" in self.layers else x
            y = self._padded(y, name + "dw", index in STRIDED).clamp(0, 6)
            y = self.layers[name + "project"](y)
            x = x + y if x.shape == y.shape else y
        x = self.layers["features_18"](x).clamp(0, 6).mean((2, 3), keepdim=True)
        return self.layers["classifier"](x).flatten(1)

    def _padded(self, x, name, strided):
        return self.layers[name](F.pad(x, (0, 1, 0, 1) if strided else (1, 1, 1, 1)))


def _convolution(raw, name):
    levels = raw[name + ".weight_int8"]
    rows, columns, height, width = levels.shape
    depthwise = name.endswith(".dw")
    strided = height == 3 and (name == "features.0" or int(name.split(".")[1]) in STRIDED)
    layer = nn.Conv2d(
        rows if depthwise else columns,
        rows,
        (height, width),
        2 if strided else 1,
        groups=rows if depthwise else 1,
    )
    layer.weight.data = torch.from_numpy(levels * raw[name + ".weight_scale"].reshape(-1, 1, 1, 1))
    layer.bias.data = torch.from_numpy(raw[name + ".bias"])
    return layer.eval()


def whole_graph(raw, trace):
    """The network's graph with the scales of the file, through importer, passes and converter."""
    program = export_network(MobileNetV2(raw), torch.zeros(1, 3, 224, 224))
    graph = modules(optimise(import_program(program).graph), FORM)
    joins, grids, weights = iter(trace.joins), {graph.inputs[0]: trace.input}, {}
    for node in graph.nodes:
        operation = node.operation
        if isinstance(operation, Convolution):
            name = node.layer.removeprefix("layers.").replace("_", ".")
            scale = torch.from_numpy(raw[name + ".weight_scale"]).double()
            weights[operation.weight] = WholeWeight(torch.from_numpy(raw[name + ".weight_int8"]), scale)
            grids[node.output] = _grid(raw[name + ".out_scale"][0], int(raw[name + ".out_zero"][0]))
        elif isinstance(operation, Binary):
            grids[node.output] = next(joins)
        else:
            grids[node.output] = trace.mean if isinstance(operation, Mean) else grids[node.inputs[0]]
    whole = in_whole_numbers(graph, divide(graph, FORM), Choices(grids, weights), FORM)
    return replace(whole, nodes=tuple(_mean_of_the_file(node) for node in whole.nodes))


def _mean_of_the_file(node):
    """TensorFlow Lite divides the multiplier of a mean by the count and drops the rest."""
    operation = node.operation
    if not isinstance(operation, QuantizedMean):
        return node
    fraction, exponent = frexp(operation.input.scale / operation.output.scale)
    count, more = 49, 5  # the largest power of two in 49 is 2^5
    multiplier = (round(fraction * 2**31) << more) // count
    return replace(node, operation=replace(operation, multiplier=multiplier, shift=31 - exponent + more))
