"""The published 3-bit DeiT-tiny as a vision transformer in floating point: scales in its weights, quantizers beside it.

What its tables and shifts do (files of an accelerator, HG-PIPE) is a scale and a rounding to a few levels each. The
scales are folded into the weights, so that without its quantizers the network is an ordinary one; between them it still
classifies ImageNet.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AttentionInterface

from spokeshave.locate import data_folder

WIDTH, HEADS, PATCH, PUBLISHED_SIDE = 192, 3, 16, 14
INPUT_SCALE = 48  # what the published network multiplies normalised pixels by
SIGNED, UNSIGNED = (-4, 3), (0, 7)
HEAD_SCALE = 1 / 6000  # scores then deviate by about three
ATTENTION = "spokeshave_quantized"
Integers = Mapping[str, Tensor]


@dataclass
class Levels:
    """A quantizer: levels from `low` to `high`, a step apart; `exact` is the part that it lets through as it is."""

    step: float
    low: int
    high: int
    zero: float = 0.0
    exact: float = 0.0

    def __call__(self, values: Tensor) -> Tensor:
        """The values' levels, mixed with the values; the gradient goes straight through where levels reach."""
        inside = (values / self.step + self.zero).clamp(self.low, self.high)
        rounded = (inside + (inside.round() - inside).detach() - self.zero) * self.step
        return torch.lerp(rounded, values, self.exact)


Quantizers = Mapping[str, Levels]


def published() -> Integers:
    """The published integers by name. Raises SpokeshaveError where they are not to be found."""
    stored = np.load(data_folder("deit_tiny_w3a3") / "deit_tiny_w3a3.npz")
    return {name: torch.from_numpy(values).double() for name, values in stored.items()}


@torch.no_grad()
def fill(network: Any, integers: Integers, classes: Sequence[int]) -> list[Quantizers]:
    """Put the integers into a `ViTForImageClassification` of some of their classes; gives each block's quantizers."""
    scale = _fill_embeddings(network.vit.embeddings, integers)
    quantizers: list[Quantizers] = []
    for place, layer in enumerate(network.vit.layers):
        own, scale = _fill_block(layer, integers, f"blocks.{place}", scale)
        quantizers.append(own)
    _fill_norm(network.vit.layernorm, integers, "head.ln")
    _fill_linear(network.classifier, integers, "head", HEAD_SCALE)
    for parameter in network.classifier.parameters():
        parameter.data = parameter.data[list(classes)]
    return quantizers


def quantize(network: Any, quantizers: Sequence[Quantizers]) -> list[Any]:
    """Put every quantizer where it stood; handles take them out, but those of attention: that is set anew."""
    network.set_attn_implementation(ATTENTION)
    handles = []
    for layer, own in zip(network.vit.layers, quantizers, strict=True):
        attention = layer.attention
        attention.probabilities = own["probabilities"]
        behind = {
            "norm1": layer.layernorm_before,
            "q": attention.q_proj,
            "k": attention.k_proj,
            "v": attention.v_proj,
            "norm2": layer.layernorm_after,
            "gelu": layer.mlp.activation_fn,
        }
        handles += [module.register_forward_hook(_behind(own[name])) for name, module in behind.items()]
        handles.append(attention.o_proj.register_forward_pre_hook(_before(own["mixed"])))
    return handles


def _behind(levels: Levels) -> Any:
    return lambda _module, _given, output: levels(output)


def _before(levels: Levels) -> Any:
    return lambda _module, given: levels(given[0])


def _attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, _mask: None, scaling: float, **_: Any
) -> tuple[Tensor, Tensor]:
    """Attention whose probabilities go through the module's quantizer."""
    probabilities = module.probabilities(torch.softmax(query @ key.mT * scaling, -1))
    return (probabilities @ value).transpose(1, 2), probabilities


AttentionInterface.register(ATTENTION, _attention)


def _fill_embeddings(embeddings: Any, integers: Integers) -> float:
    """Class token, patches and their places; gives what the integers in front of the first block are multiplied by."""
    places = integers["patch.bias"]
    scale = 1 / float(places.square().mean().sqrt())
    patch = embeddings.patch_embeddings
    patch.projection.weight.copy_(
        integers["patch.weight"].view(patch.projection.weight.shape) * INPUT_SCALE * scale
    )
    patch.projection.bias.zero_()
    embeddings.cls_token.copy_(integers["patch.cls"] * scale)
    grid = (places * scale).T.view(1, WIDTH, PUBLISHED_SIDE, PUBLISHED_SIDE).clone()
    grid[..., 0, 0] = (grid[..., 0, 1] + grid[..., 1, 0]) / 2  # the class token took this patch's place
    side = patch.image_size[0] // PATCH
    embeddings.position_embeddings.zero_()
    embeddings.position_embeddings[:, 1:] = F.adaptive_avg_pool2d(grid, side).flatten(2).mT
    return scale * 2 ** float(integers["patch.shift"])


def _fill_block(layer: Any, integers: Integers, name: str, scale: float) -> tuple[dict[str, Levels], float]:
    """One block; `scale` is what the integers of its tokens are multiplied by, in front of it and behind."""
    attention, mlp = layer.attention, layer.mlp
    _fill_norm(layer.layernorm_before, integers, f"{name}.ln1")
    _fill_norm(layer.layernorm_after, integers, f"{name}.ln2")
    steps = {part: table_scale(integers, f"{name}.{part}.quant") for part in "qkva"}
    sharpness = (exponent(integers, f"{name}.softmax") / attention.scaling) ** 0.5
    levels = probability_levels(integers, f"{name}.softmax")
    for part, module in (("q", attention.q_proj), ("k", attention.k_proj)):
        _fill_linear(module, integers, f"{name}.{part}", steps[part] * sharpness)
    _fill_linear(attention.v_proj, integers, f"{name}.v", steps["v"])
    scale = scale / _shrinking(integers, f"{name}.attn.residual")
    mixed = 1 / (levels * steps["a"])
    _fill_linear(attention.o_proj, integers, f"{name}.o", scale, 1 / mixed)
    gelu = gelu_scales(integers, f"{name}.gelu")
    _fill_linear(mlp.fc1, integers, f"{name}.fc1", gelu.inner)
    scale = scale / _shrinking(integers, f"{name}.mlp.residual")
    mlp.fc2.bias.copy_(
        scale * (integers[f"{name}.fc2.bias"] + gelu.zero * integers[f"{name}.fc2.weight"].sum(1))
    )
    mlp.fc2.weight.copy_(integers[f"{name}.fc2.weight"] * scale / gelu.step)
    quantizers = {
        **{part: Levels(1.0, *SIGNED) for part in ("norm1", "norm2", "v")},
        **{part: Levels(sharpness, *SIGNED) for part in "qk"},
        "probabilities": Levels(1 / levels, *UNSIGNED),
        "mixed": Levels(mixed, *SIGNED),
        "gelu": Levels(gelu.step, *UNSIGNED, gelu.zero),
    }
    return quantizers, scale


def _fill_linear(module: Any, integers: Integers, name: str, scale: float, inner: float = 1.0) -> None:
    """A layer whose outputs are multiplied by `scale`, and whose inputs are by `inner` too small."""
    module.weight.data = (integers[f"{name}.weight"] * scale * inner).float()
    module.bias.data = (integers[f"{name}.bias"] * scale).float()


def _fill_norm(norm: Any, integers: Integers, name: str) -> None:
    """The tables of roots are a constant by the deviation; the shift at the end rounds down, hence the half."""
    _, _, offset, shift, _, last, _ = integers[f"{name}.scalars"].tolist()
    roots = integers[f"{name}.rsqrt"]
    squares = (torch.arange(len(roots)) + 0.5) * 2**shift - offset
    constant = (roots * (squares / WIDTH).sqrt()).median()
    norm.weight.copy_(integers[f"{name}.gamma"] * constant / 2**last)
    norm.bias.copy_(integers[f"{name}.beta"] / 2**last - 0.5)


def _shrinking(integers: Integers, name: str) -> float:
    """What a residual sum multiplies its tokens by."""
    factor, shift = integers[name].tolist()
    return factor / 2**shift


def _entries(integers: Integers, name: str) -> tuple[Tensor, Tensor]:
    """What a table maps: inputs in the middle of each entry's range, and outputs."""
    offset, shift, _ = integers[f"{name}.scalars"].tolist()
    table = integers[f"{name}.table"]
    return (torch.arange(len(table)) + 0.5) * 2**shift - offset, table


def table_scale(integers: Integers, name: str) -> float:
    """Of a table that rounds: outputs by inputs, least squares between its ends."""
    inputs, outputs = _entries(integers, name)
    inside = (outputs > outputs.min()) & (outputs < outputs.max())
    return float((inputs * outputs)[inside].sum() / inputs[inside].square().sum())


def exponent(integers: Integers, name: str) -> float:
    """What a softmax multiplies scores by: the slope of its table's logarithm, where its entries have two digits."""
    table, shift = integers[f"{name}.exp"], integers[f"{name}.scalars"][1]
    large = table[table >= 10].log().numpy()
    return float(-np.polyfit(np.arange(len(large)), large, 1)[0] / 2**shift)


def probability_levels(integers: Integers, name: str) -> float:
    """The level of probability one, most of which the three bits cut off."""
    scalars, reciprocals = integers[f"{name}.scalars"].tolist(), integers[f"{name}.recip1"]
    sums = (torch.arange(len(reciprocals)) + 0.5) * 2 ** scalars[4] - scalars[3]
    return float((reciprocals * sums)[2:].median() / 2 ** scalars[7])


@dataclass(frozen=True)
class GELUScales:
    """A table of GELU is `round(gelu(inner * input) / step + zero)`."""

    inner: float
    step: float
    zero: float


def gelu_scales(integers: Integers, name: str) -> GELUScales:
    """The scales that come nearest to a table, of a grid."""
    inputs, outputs = _entries(integers, name)
    inner, zero = torch.logspace(-3, 0, 200).double(), torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0]).double()
    step = torch.logspace(-1.7, 0.3, 120).double()
    curves = F.gelu(inner[:, None] * inputs)[:, None, None] / step[:, None, None] + zero[:, None]
    errors = (curves.round().clamp(*UNSIGNED) - outputs).square().sum(-1)
    best = np.unravel_index(int(errors.argmin()), errors.shape)
    return GELUScales(float(inner[best[0]]), float(step[best[1]]), float(zero[best[2]]))
