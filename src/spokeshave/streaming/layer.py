"""One decoder layer from the old checkpoint to the new: attention, then expert after expert."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spokeshave.errors import naming
from spokeshave.streaming.attention_half import AttentionHalf
from spokeshave.streaming.checkpoint import Checkpoint
from spokeshave.streaming.expert import Expert, Routed
from spokeshave.streaming.experts import ExpertPlaces, layer_places
from spokeshave.streaming.memory import peak_resident_bytes
from spokeshave.streaming.settings import ExpertPruning
from spokeshave.streaming.states import States
from spokeshave.streaming.tensor_file import TensorWriter, written_tensors

Report = Callable[[int], None]
"""Told an expert's number before it is begun."""


@dataclass(frozen=True)
class LayerStates:
    """States of all calibration tokens, sequence behind sequence: before a layer, behind it, and as its experts read.

    `outputs` takes the states behind the pruned layer: the next layer is calibrated on those (Wanda's order, not the
    one in which MoE-Pruner's Algorithm 1 is printed). Gates are those of the layer itself, whose attention and router
    are not pruned.
    """

    inputs: States
    outputs: States
    normed: States
    sequences: int
    length: int


@dataclass(frozen=True)
class Routing:
    """Gates and numbers of the experts of every token, `[tokens, k]`."""

    gates: Tensor
    chosen: Tensor

    def tokens_of(self, expert: int, normed: States) -> Routed:
        """The tokens that are routed to one expert."""
        tokens, place = (self.chosen == expert).nonzero(as_tuple=True)
        return Routed(tokens, self.gates[tokens, place], normed)

    def imbalance(self, experts: int) -> float:
        """Standard deviation over mean of the tokens whose first choice each expert is (arXiv 2410.12013)."""
        first = self.chosen.gather(1, self.gates.argmax(1, keepdim=True)).flatten()
        counts = torch.bincount(first, minlength=experts).double()
        return float(counts.std(correction=0) / counts.mean())


@dataclass(frozen=True)
class LayerPruner:
    """Prunes layers of one checkpoint, one at a time; `half` only where there are calibration states."""

    checkpoint: Checkpoint
    settings: ExpertPruning
    half: AttentionHalf | None

    def prune(self, layer: int, states: LayerStates | None, shard: Path, report: Report) -> dict[str, Any]:
        """Write the pruned layer to a file of its own; returns what is recorded of it."""
        started, processor = time.perf_counter(), time.process_time()
        places = layer_places(self.checkpoint, layer)
        routing = self._route(layer, places.router, states)
        names = self.checkpoint.names(f"model.layers.{layer}.")
        with written_tensors(shard, {name: self.checkpoint.entry(name) for name in names}) as writer:
            self.checkpoint.copy(names - places.tensors, writer)
            experts = []
            for number, where in enumerate(places.experts):
                report(number)
                routed = routing.tokens_of(number, states.normed) if routing and states else None
                with naming(f"model.layers.{layer}, expert {number}"):
                    moved = self._move(where, routed, states, writer, f"{layer} {number}")
                experts.append({"expert": number} | moved)
        record: dict[str, Any] = {
            "layer": layer,
            "source": self.checkpoint.digest(names),
            "seconds": time.perf_counter() - started,
            "processor_seconds": time.process_time() - processor,
        }
        if routing is not None:
            record["imbalance"] = routing.imbalance(len(experts))
        return record | {"peak_resident_bytes": peak_resident_bytes(), "experts": experts}

    def _route(self, layer: int, router: str, states: LayerStates | None) -> Routing | None:
        """Run attention and router on all sequences; `outputs` and `normed` are filled."""
        if self.half is None or states is None:
            return None
        self.half.load(layer, router)
        routings = []
        for first in range(0, states.sequences * states.length, states.length):
            found = self.half.run(states.inputs.span(first, states.length))
            states.outputs.put(first, found.states)
            states.normed.put(first, found.normed)
            routings.append((found.gates, found.chosen))
        self.half.unload()
        gates, chosen = (torch.cat(parts) for parts in zip(*routings, strict=True))
        return Routing(gates, chosen)

    def _move(
        self,
        places: ExpertPlaces,
        routed: Routed | None,
        states: LayerStates | None,
        writer: TensorWriter,
        key: str,
    ) -> dict[str, Any]:
        """Read, prune and write an expert, and let it contribute to the states behind the layer."""
        started = time.perf_counter()
        expert = Expert.read(self.checkpoint, places)
        by_inputs = expert.prune(self.settings, routed, key)
        expert.write(writer, places)
        if routed is not None and states is not None:
            expert.contribute(routed, states.outputs)
        return {
            "tokens": 0 if routed is None else len(routed.tokens),
            "by_inputs": by_inputs,
            "density": expert.density,
            "seconds": time.perf_counter() - started,
        }
