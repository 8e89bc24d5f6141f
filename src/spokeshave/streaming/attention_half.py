"""The half of a decoder layer that is left alone: norms, attention and router, with transformers' own modules."""

import copy
from typing import NamedTuple

import torch
from torch import Tensor

from spokeshave.errors import SpokeshaveError
from spokeshave.streaming.checkpoint import CONFIG, Checkpoint


class Attended(NamedTuple):
    """What the experts of a layer meet, for each token of one sequence.

    `states` `[tokens, hidden]`: the residual stream behind attention; `normed` `[tokens, hidden]`: what experts read;
    `gates` `[tokens, k]`: softmax over the k chosen experts' router logits; `chosen` `[tokens, k]`: their numbers.
    """

    states: Tensor
    normed: Tensor
    gates: Tensor
    chosen: Tensor


class AttentionHalf:
    """One decoder layer without its experts, in float32; `load` gives it the weights of any layer."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        from transformers import MixtralModel
        from transformers.masking_utils import create_causal_mask, create_sliding_window_causal_mask

        self._checkpoint = checkpoint
        self._config = copy.deepcopy(checkpoint.config)
        self._config.num_hidden_layers = 1
        try:
            with torch.device("meta"):  # experts stay there: they never get memory
                model = MixtralModel(self._config).eval()
            self._rotary = type(model.rotary_emb)(self._config)
        except Exception as error:  # transformers raises errors of many kinds here
            reason = " ".join(repr(error).split())
            raise SpokeshaveError(
                f"transformers builds no layer from {checkpoint.folder / CONFIG}: {reason}"
            ) from error
        self._layer = model.layers[0]
        self._mask = create_sliding_window_causal_mask if self._config.sliding_window else create_causal_mask

    def load(self, layer: int, router: str) -> None:
        """Read a layer's norms, attention and router (a tensor of this name)."""
        wanted = self._tensors(layer, router)
        read = {name: self._checkpoint.tensor(*stored) for name, stored in wanted.items()}
        self._layer.load_state_dict(read, strict=False, assign=True)

    def check(self, layer: int, router: str) -> None:
        """Raise SpokeshaveError unless the checkpoint has what `load` would read."""
        for stored in self._tensors(layer, router).values():
            self._checkpoint.check(*stored)

    def unload(self) -> None:
        """Let go of the weights."""
        self._layer.to("meta")

    @torch.no_grad()
    def run(self, states: Tensor) -> Attended:
        """Pass one sequence `[tokens, hidden]` through; raises SpokeshaveError where the result is not finite."""
        states = states[None]
        positions = torch.arange(states.shape[1])[None]
        mask = self._mask(
            config=self._config, inputs_embeds=states, attention_mask=None, cache=None, position_ids=positions
        )
        attended, _ = self._layer.self_attn(
            hidden_states=self._layer.input_layernorm(states),
            position_embeddings=self._rotary(states, position_ids=positions),
            attention_mask=mask,
        )
        states = (states + attended)[0]
        normed = self._layer.post_attention_layernorm(states)
        _, gates, chosen = self._layer.mlp.gate(normed)
        if not torch.isfinite(normed).all():
            raise SpokeshaveError("the calibration states are not finite: the weights overflow float32")
        return Attended(states, normed, gates, chosen)

    def _tensors(self, layer: int, router: str) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Names and shapes in the checkpoint of the half's parameters."""
        names = {"mlp.gate.weight": router}
        return {
            name: (names.get(name, f"model.layers.{layer}.{name}"), tuple(parameter.shape))
            for name, parameter in self._layer.named_parameters()
            if not name.startswith("mlp.experts.")
        }
