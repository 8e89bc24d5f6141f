"""Small transformers of the `transformers` library with random weights, and an example of their inputs."""

from collections.abc import Callable

import torch
import transformers
from torch import Tensor, nn

TOKENS, VOCABULARY = 19, 101


def image_classifier(name: str, attention: str = "sdpa") -> tuple[nn.Module, tuple[Tensor, ...]]:
    """DeiT or ViT on 32 x 32 pixels."""
    config = getattr(transformers, f"{name}Config")(
        hidden_size=48,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=96,
        image_size=32,
        patch_size=8,
        num_labels=10,
        attn_implementation=attention,
    )
    return getattr(transformers, f"{name}ForImageClassification")(config), (torch.randn(2, 3, 32, 32),)


def swin() -> tuple[nn.Module, tuple[Tensor, ...]]:
    """Two stages, windows and shifted windows."""
    config = transformers.SwinConfig(
        image_size=32,
        patch_size=2,
        embed_dim=24,
        depths=[2, 2],
        num_heads=[3, 6],
        window_size=4,
        num_labels=10,
    )
    return transformers.SwinForImageClassification(config), (torch.randn(2, 3, 32, 32),)


def _text(padded: bool) -> tuple[Tensor, ...]:
    ids = torch.randint(0, VOCABULARY, (2, TOKENS))
    mask = torch.ones(2, TOKENS, dtype=torch.int64)
    mask[:, 14:] = 0
    mask[1, 9:] = 0
    return (ids, mask) if padded else (ids,)


def bert(attention: str = "sdpa", padded: bool = True) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """BERT, and MiniLM, which is a small one."""
    config = transformers.BertConfig(
        hidden_size=48,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=96,
        vocab_size=VOCABULARY,
        max_position_embeddings=64,
        attn_implementation=attention,
    )
    return transformers.BertModel(config), _text(padded)


def distilbert() -> tuple[nn.Module, tuple[Tensor, ...]]:
    """DistilBERT."""
    config = transformers.DistilBertConfig(
        dim=48, n_layers=2, n_heads=3, hidden_dim=96, vocab_size=VOCABULARY, max_position_embeddings=64
    )
    return transformers.DistilBertModel(config), _text(True)


class Logits(nn.Module):
    """A language model without a cache of past keys."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, ids: Tensor) -> Tensor:
        """Scores of the next word at every place."""
        return self.network(input_ids=ids, use_cache=False).logits


def gpt2(attention: str = "sdpa") -> tuple[nn.Module, tuple[Tensor, ...]]:
    """GPT-2 without past keys."""
    return Logits(gpt2_language_model(attention)), _text(False)


def gpt2_language_model(attention: str = "sdpa") -> nn.Module:
    """GPT-2 as the library has it."""
    config = transformers.GPT2Config(
        n_embd=48,
        n_layer=2,
        n_head=3,
        vocab_size=VOCABULARY,
        n_positions=64,
        bos_token_id=None,
        eos_token_id=None,
        attn_implementation=attention,
    )
    return transformers.GPT2LMHeadModel(config)


def mixtral(attention: str = "sdpa") -> tuple[nn.Module, tuple[Tensor, ...]]:
    """Mixtral: rotary positions, keys that heads share, four experts of which each token asks two."""
    config = transformers.MixtralConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=40,
        vocab_size=VOCABULARY,
        num_local_experts=4,
        num_experts_per_tok=2,
        max_position_embeddings=64,
        bos_token_id=None,
        eos_token_id=None,
        attn_implementation=attention,
    )
    return Logits(transformers.MixtralForCausalLM(config)), _text(False)


NETWORKS: dict[str, Callable[[], tuple[nn.Module, tuple[Tensor, ...]]]] = {
    "deit": lambda: image_classifier("DeiT"),
    "deit eager": lambda: image_classifier("DeiT", "eager"),
    "vit": lambda: image_classifier("ViT"),
    "swin": swin,
    "bert": bert,
    "bert eager": lambda: bert("eager"),
    "bert without padding": lambda: bert(padded=False),
    "distilbert": distilbert,
    "gpt2": gpt2,
    "gpt2 eager": lambda: gpt2("eager"),
    "mixtral": mixtral,
    "mixtral eager": lambda: mixtral("eager"),
}
