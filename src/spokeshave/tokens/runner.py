"""What stands in the place of a block's `forward`: reduce, then run the block on what takes part."""

import inspect
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

from spokeshave.errors import SpokeshaveError
from spokeshave.tokens.attention import Attending
from spokeshave.tokens.blocks import Block
from spokeshave.tokens.buckets import run_alive
from spokeshave.tokens.decisions import at_least_single
from spokeshave.tokens.flow import Flow, Pass
from spokeshave.tokens.windows import Windowed, into_windows, out_of_windows


class Runner:
    """A block among its network's reducers. A bound method takes the place of `forward`, so that copies are whole."""

    def __init__(self, flow: Flow, block: Block, index: int, opens_stage: bool, last: bool) -> None:
        self._flow, self._block, self._index = flow, block, index
        self._opens_stage, self._last = opens_stage, last
        self._original = block.module.forward
        self._own = block.module.__dict__.get("forward")
        self._first = next(iter(inspect.signature(self._original).parameters))

    def take_over(self) -> None:
        """Stand in for the block's `forward`."""
        self._block.module.forward = self.forward

    def leave(self) -> None:
        """Give the block its own `forward` back."""
        if self._own is None:
            del self._block.module.forward
        else:
            self._block.module.forward = self._own

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """The block's own inputs, tokens `[N, T, C]` first; its own outputs."""
        tokens, inputs = (inputs[0], inputs[1:]) if inputs else (named.pop(self._first), ())
        flow, training = self._flow, self._block.module.training
        if self._opens_stage:
            whole = self._block.windowed or self._block.biased
            flow.begin(tokens, training, whole, first=self._index == 0)
        self._refuse_checkpointing()
        flow.enter(self._index, self._block.name)
        if self._index in flow.reducers:
            tokens = flow.reduce(self._index, tokens, training)
        assert flow.current is not None
        call = _Call(self._original, inputs, named)
        if flow.current.layout != "masked" or flow.current.packages:
            call.leave_out_masks(flow.current.patches + flow.leading, self._block.name)
        done = self._run(call, tokens, flow.current)
        if not torch.compiler.is_exporting():
            self._write_down(tokens, done, flow)
        return call.whole(done)

    def _refuse_checkpointing(self) -> None:
        """Blocks of transformers checkpoint inside their own forward, where what masks attention is gone by then."""
        module = self._block.module
        if getattr(module, "gradient_checkpointing", False) and module.training and torch.is_grad_enabled():
            raise SpokeshaveError(
                f"block {self._block.name!r} is computed again while gradients are, without what masks its tokens; "
                "with token reducers, turn gradient checkpointing off"
            )

    def _run(self, call: "_Call", tokens: Tensor, now: Pass) -> Tensor:
        wanted = self._flow.wanted(self._index)
        if now.layout == "in place" and now.alive is not None:
            count = None if now.count is None or now.packages else now.count + self._flow.leading
            done, now.attention = run_alive(call, tokens, now.alive, count, wanted)
        elif now.alive is None and wanted is None:
            return call(tokens)
        elif self._block.windowed:
            done = self._in_windows(call, tokens, now)
        else:
            attending = Attending(now.alive, tokens.shape[1], wanted)
            with attending:
                done = call(tokens)
            now.attention = attending.attention
        if now.attention is not None:
            now.attention = now.attention[:, self._flow.leading :].to(tokens.dtype)
        return self._hold_still(tokens, done, now)

    def _in_windows(self, call: "_Call", tokens: Tensor, now: Pass) -> Tensor:
        module, size = cast(Windowed, self._block.module), call.map_size()
        everything = tokens[:, :, 0].new_ones(tokens.shape[:2])
        alive = into_windows(module, everything if now.alive is None else now.alive, size)
        attending = Attending(alive, alive.shape[1], self._flow.wanted(self._index))
        with attending:
            done = call(tokens)
        found = attending.attention
        now.attention = None if found is None else out_of_windows(module, found, size)
        return done

    def _hold_still(self, tokens: Tensor, done: Tensor, now: Pass) -> Tensor:
        """Tokens that stay without taking part are what they were."""
        if not self._flow.stays or now.alive is None or now.layout == "in place":
            return done
        alive = now.alive[:, :, None]
        return alive * done + (1 - alive) * tokens

    def _write_down(self, tokens: Tensor, done: Tensor, flow: Flow) -> None:
        now = flow.current
        assert now is not None
        alive = torch.ones_like(tokens[:, :, 0]) if now.alive is None else now.alive.detach()
        flow.counts.append(alive.to(at_least_single(alive.dtype)).sum(1))
        if self._last:
            flow.features = done
            if now.alive is not None and not flow.stays and done.requires_grad:
                done.register_hook(_Unread(now.alive.detach()))


class _Unread:
    """Sees to it that nothing behind the last block reads tokens that are gone, by the gradient that reaches them."""

    def __init__(self, alive: Tensor) -> None:
        self._gone = alive < 0.5

    def __call__(self, gradient: Tensor) -> None:
        if gradient[self._gone].any():
            raise SpokeshaveError(
                "the network's scores read tokens that were dropped (its head takes a mean over patches, say), so that "
                "masked and gathered tokens differ; use Freeze() or Zero(), or a head that reads the class token alone"
            )


class _Call:
    """A block's own forward with everything but the tokens; remembers what else it gives."""

    def __init__(self, original: Callable[..., Any], inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        self._original, self._inputs, self._named = original, inputs, named
        self._others: tuple[Any, ...] | None = None

    def __call__(self, tokens: Tensor) -> Tensor:
        found = self._original(tokens, *self._inputs, **self._named)
        if isinstance(found, tuple):
            found, self._others = found[0], found[1:]
        return found

    def whole(self, done: Tensor) -> Any:
        """What the block gives, with these tokens."""
        return done if self._others is None else (done, *self._others)

    def leave_out_masks(self, tokens: int, block: str) -> None:
        """Forget masks over all `tokens`, which some networks make even where nothing is hidden.

        Raises SpokeshaveError for one that hides something (which an export cannot see), and for other tensors, which
        would have to be gathered with the tokens.
        """
        self._inputs = tuple(
            None if _hides_nothing(given, tokens, block) else given for given in self._inputs
        )
        self._named = {
            name: None if _hides_nothing(given, tokens, block) else given
            for name, given in self._named.items()
        }

    def map_size(self) -> tuple[int, int]:
        """Height and width of the map, which blocks with windows are told."""
        height, width = self._inputs[0] if self._inputs else self._named["input_dimensions"]
        return int(height), int(width)


def _hides_nothing(given: Any, tokens: int, block: str) -> bool:
    if not isinstance(given, Tensor):
        return False
    is_mask = given.dim() == 4 and given.shape[2:] == (tokens, tokens)
    if is_mask and (
        torch.compiler.is_exporting() or (given if given.dtype == torch.bool else given == 0).all()
    ):
        return True
    raise SpokeshaveError(
        f"block {block!r} takes another tensor beside its tokens, which cannot be gathered with them; run it masked "
        "(form = 'masked')"
    )
