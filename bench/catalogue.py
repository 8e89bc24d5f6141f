"""The networks of the tables: built from their configurations with random weights, so they say nothing of accuracy."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from spokeshave.networks import NETWORKS

IMAGES = (1, 3, 224, 224)
TOKENS = 128
STEPS, FEATURES = 100, 39


@dataclass(frozen=True)
class Case:
    """A network and one sample of its inputs.

    `rows` is how many output rows share their kept columns; `prune_first` says whether the layer that reads the
    network's input is pruned as well, when it is a convolution or recurrent.
    """

    name: str
    about: str
    make: Callable[[], tuple[nn.Module, tuple[Tensor, ...]]]
    rows: int = 8
    prune_first: bool = False


def _image_network(name: str) -> tuple[nn.Module, tuple[Tensor, ...]]:
    return NETWORKS[name](), (torch.randn(IMAGES),)


def _vision_transformer(width: int, heads: int) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """DeiT without its distillation token is ViT's own network (arXiv 2012.12877, table 1)."""
    from transformers import ViTConfig, ViTForImageClassification

    sizes: dict[str, Any] = {"hidden_size": width, "num_attention_heads": heads, "num_labels": 1000}
    return ViTForImageClassification(ViTConfig(**sizes, intermediate_size=4 * width)), (torch.randn(IMAGES),)


def _swin() -> tuple[nn.Module, tuple[Tensor, ...]]:
    """Swin-T (arXiv 2103.14030, section 3.3)."""
    from transformers import SwinConfig, SwinForImageClassification

    labels: dict[str, Any] = {"num_labels": 1000}
    return SwinForImageClassification(SwinConfig(**labels)), (torch.randn(IMAGES),)


def _bert(layers: int, width: int) -> tuple[nn.Module, tuple[Tensor, ...]]:
    from transformers import BertConfig, BertModel

    sizes: dict[str, Any] = {
        "hidden_size": width,
        "num_hidden_layers": layers,
        "intermediate_size": 4 * width,
    }
    return BertModel(BertConfig(**sizes), add_pooling_layer=False), (_words(30522),)


def _distilbert() -> tuple[nn.Module, tuple[Tensor, ...]]:
    from transformers import DistilBertConfig, DistilBertModel

    return DistilBertModel(DistilBertConfig()), (_words(30522),)


def _gpt2() -> tuple[nn.Module, tuple[Tensor, ...]]:
    """GPT-2 small without its vocabulary head; its transposed layers are written as `nn.Linear`, the same product."""
    from transformers import GPT2Config, GPT2Model

    network = GPT2Model(GPT2Config(use_cache=False))
    _untranspose(network)
    return network, (_words(50257),)


def _untranspose(network: nn.Module) -> None:
    from transformers.pytorch_utils import Conv1D

    for name, layer in list(network.named_modules()):
        if isinstance(layer, Conv1D):
            linear = nn.Linear(layer.nx, layer.nf)
            linear.load_state_dict({"weight": layer.weight.T, "bias": layer.bias})
            network.set_submodule(name, linear)


class Sequence(nn.Module):
    """The outputs of all steps of a recurrent network, `[1, steps, units]`."""

    def __init__(self, layers: nn.RNNBase) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, features: Tensor) -> Tensor:
        return self.layers(features)[0]


def _recurrent(
    kind: type[nn.GRU] | type[nn.LSTM], layers: int, both: bool = False
) -> tuple[nn.Module, tuple[Tensor, ...]]:
    network = kind(FEATURES, 1024, layers, batch_first=True, bidirectional=both)
    return Sequence(network), (torch.randn(1, STEPS, FEATURES),)


def _words(vocabulary: int) -> Tensor:
    return torch.randint(vocabulary, (1, TOKENS))


_PIXELS, _PATCHES = "224 x 224 pixels", "224 x 224 pixels, 197 tokens"
_TEXT, _SPEECH = f"{TOKENS} tokens", f"{FEATURES} inputs, {STEPS} steps"

CASES: Mapping[str, Case] = {
    case.name: case
    for case in (
        *(Case(name, _PIXELS, partial(_image_network, name)) for name in ("resnet18", "resnet50", "vgg16")),
        Case("mobilenet_v2", f"{_PIXELS}, 1 x 1 layers pruned", partial(_image_network, "mobilenet_v2")),
        Case("deit_tiny", _PATCHES, partial(_vision_transformer, 192, 3)),
        Case("deit_small", _PATCHES, partial(_vision_transformer, 384, 6)),
        Case("deit_base", _PATCHES, partial(_vision_transformer, 768, 12)),
        Case("swin_tiny", f"{_PIXELS}, windows of 7 x 7", _swin),
        Case("bert_base", _TEXT, partial(_bert, 12, 768)),
        Case("minilm", f"{_TEXT}, 6 layers of 384", partial(_bert, 6, 384)),
        Case("distilbert", _TEXT, _distilbert),
        Case("gpt2_small", f"{_TEXT}, no head, no past", _gpt2),
        Case("gru_1x1024", _SPEECH, partial(_recurrent, nn.GRU, 1), rows=32),
        Case("gru_2x1024", _SPEECH, partial(_recurrent, nn.GRU, 2), rows=32),
        Case("lstm_1x1024", _SPEECH, partial(_recurrent, nn.LSTM, 1), rows=32),
        Case("lstm_2x1024", _SPEECH, partial(_recurrent, nn.LSTM, 2), rows=32),
        Case("gru_2x1024_both", f"{_SPEECH}, both directions", partial(_recurrent, nn.GRU, 2, True), rows=32),
        Case(
            "lstm_1x1024_both", f"{_SPEECH}, both directions", partial(_recurrent, nn.LSTM, 1, True), rows=32
        ),
        Case(
            "lstm_2x1024_both", f"{_SPEECH}, both directions", partial(_recurrent, nn.LSTM, 2, True), rows=32
        ),
    )
}


def make(case: Case) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """The case's network in evaluation mode, and its sample: the same ones every time."""
    torch.manual_seed(0)
    network, inputs = case.make()
    return network.eval(), inputs
