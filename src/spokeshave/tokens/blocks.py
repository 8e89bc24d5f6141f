"""The blocks of a transformer, its stages, and its class tokens, found without knowing the network's code."""

from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import nn

from spokeshave.errors import SpokeshaveError
from spokeshave.tokens.windows import can_be_windowed, has_windows

CLASS_TOKENS = (
    "cls",
    "cls_token",
    "class_token",
    "class_embedding",
    "dist_token",
    "distillation_token",
    "dist",
)
REGISTERS = ("register_tokens", "reg_token")  # parameters [1, registers, C] behind the class token


@dataclass(frozen=True)
class Block:
    """A block, its name, and its stage; tokens are merged or pooled between stages."""

    name: str
    module: nn.Module
    stage: int

    @property
    def width(self) -> int:
        """Channels of a token."""
        for module in self.module.modules():
            if isinstance(module, nn.LayerNorm):
                return module.normalized_shape[-1]
            if isinstance(module, nn.Linear):
                return module.in_features
        raise SpokeshaveError(f"block {self.name!r} has neither norm nor linear layer to tell the width from")

    @property
    def heads(self) -> int | None:
        """Heads of attention, where the block says."""
        for module in self.module.modules():
            for name in ("num_attention_heads", "num_heads", "heads", "n_heads"):
                if isinstance(found := getattr(module, name, None), int):
                    return found
        return None

    @property
    def windowed(self) -> bool:
        """Whether attention is inside windows."""
        return has_windows(self.module)

    @property
    def window(self) -> int | None:
        """How many tokens to a side a window has; None where attention is over all tokens."""
        return self.module.window_size if self.windowed else None  # type: ignore[return-value]

    @property
    def biased(self) -> bool:
        """Whether attention adds a number for every pair of places, as BEiT's does, so that all must be there."""
        return any("relative_position_bias" in name for name, _ in self.module.named_parameters())


def find_blocks(network: nn.Module, pattern: str | None = None) -> tuple[Block, ...]:
    """The blocks of every stage in order: modules whose names match, or the lists of alike modules with linear layers.

    Raises SpokeshaveError where there are none, and for blocks whose attention cannot be reached.
    """
    lists = [
        (name, module)
        for name, module in network.named_modules()
        if isinstance(module, (nn.ModuleList, nn.Sequential)) and _are_blocks(module)
    ]
    inner = [one for one in lists if not any(other.startswith(f"{one[0]}.") for other, _ in lists)]
    if pattern is None:
        found = [
            Block(f"{name}.{part}", module, stage)
            for stage, (name, blocks) in enumerate(inner)
            for part, module in blocks.named_children()
        ]
    else:
        found = _named(network, pattern)
    if not found:
        told = f"no layer is called {pattern!r}" if pattern else "no list of alike blocks was found"
        raise SpokeshaveError(
            f"{type(network).__name__}: {told}; name the blocks by a pattern, such as blocks='encoder.layers.*'"
        )
    _check_attention(found)
    return tuple(found)


def _are_blocks(modules: nn.Module) -> bool:
    children = list(modules.children())
    alike = len({type(child) for child in children}) == 1
    return alike and all(
        sum(isinstance(part, nn.Linear) for part in child.modules()) > 1 for child in children
    )


def _named(network: nn.Module, pattern: str) -> list[Block]:
    modules = [(name, module) for name, module in network.named_modules() if fnmatchcase(name, pattern)]
    names = [name for name, _ in modules]
    outer = [(n, m) for n, m in modules if not any(n.startswith(f"{other}.") for other in names)]
    stages = list(dict.fromkeys(name.rpartition(".")[0] for name, _ in outer))
    return [Block(name, module, stages.index(name.rpartition(".")[0])) for name, module in outer]


def _check_attention(blocks: list[Block]) -> None:
    for block in blocks:
        if block.windowed and not can_be_windowed(block.module):
            raise SpokeshaveError(
                f"block {block.name!r} ({type(block.module).__name__}) attends inside windows that cannot be reached; "
                "of networks with windows, tokens are reduced in Swin of transformers"
            )
        if any(isinstance(module, nn.MultiheadAttention) for module in block.module.modules()):
            raise SpokeshaveError(
                f"block {block.name!r} attends by nn.MultiheadAttention, whose inside cannot be reached; tokens are "
                "reduced where attention is scaled_dot_product_attention or a softmax over tokens"
            )


def reads_patches(network: nn.Module) -> bool:
    """Whether a network says of itself that its head takes the mean over patches (BEiT's config, timm's pooling)."""
    return any(
        getattr(getattr(module, "config", None), "use_mean_pooling", False) is True
        or getattr(module, "global_pool", None) in ("avg", "avgmax", "max")
        for module in network.modules()
    )


def count_class_tokens(network: nn.Module) -> int:
    """How many tokens stand in front of the patches, by the names of the network's parameters.

    A class token, and behind it DeiT's distillation token, or registers.
    """
    named = {name.rpartition(".")[2]: tensor for name, tensor in network.named_parameters()}
    registers = [named[name].shape[1] for name in REGISTERS if name in named]
    return len(named.keys() & set(CLASS_TOKENS)) + sum(registers)
