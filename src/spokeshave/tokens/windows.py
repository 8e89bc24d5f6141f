"""Blocks that attend inside shifted windows (Swin of transformers): tokens there are masked, never gathered."""

from typing import Any, Protocol

from torch import Tensor, nn


class Windowed(Protocol):
    """What is used of such a block."""

    window_size: int

    def set_shift_and_window_size(self, input_resolution: tuple[int, int]) -> None:
        """Fit window and shift to a map."""

    def maybe_pad(self, hidden_states: Tensor, height: int, width: int) -> tuple[Tensor, Any]:
        """Pad a map `[N, H, W, C]` to whole windows."""

    def cyclic_shift(self, hidden_states: Tensor, reverse: bool = False) -> Tensor:
        """Move a map by the block's shift."""


def has_windows(block: nn.Module) -> bool:
    """Whether a block attends inside windows."""
    return hasattr(block, "window_size")


def can_be_windowed(block: nn.Module) -> bool:
    """Whether it is a `Windowed` one, whose windows can be followed."""
    methods = ("set_shift_and_window_size", "maybe_pad", "cyclic_shift")
    return isinstance(block.window_size, int) and all(hasattr(block, name) for name in methods)


def into_windows(block: Windowed, alive: Tensor, size: tuple[int, int]) -> Tensor:
    """`[N, H * W]` as the block's attention sees it, `[N * windows, tokens]`; padding takes part, as it always does."""
    block.set_shift_and_window_size(size)
    dead, _ = block.maybe_pad(1 - alive.unflatten(1, size)[..., None], *size)
    side = block.window_size
    cut = block.cyclic_shift(dead).unflatten(2, (-1, side)).unflatten(1, (-1, side))
    return 1 - cut.transpose(2, 3).flatten(0, 2).flatten(1)


def out_of_windows(block: Windowed, windows: Tensor, size: tuple[int, int]) -> Tensor:
    """What `into_windows` cut, put together: `[N * windows, tokens]` to `[N, H * W]`."""
    side = block.window_size
    high, wide = (-(-length // side) for length in size)
    pieces = windows.unflatten(1, (side, side)).unflatten(0, (-1, high, wide))
    grid = pieces.transpose(2, 3).flatten(3, 4).flatten(1, 2)[..., None]
    whole = block.cyclic_shift(grid, reverse=True)
    return whole[:, : size[0], : size[1], 0].flatten(1)
