"""A checkpoint from folder to folder, layer by layer, resumable after `kill -9` at any moment.

OUTPUT/model-0000i-of-0000n.safetensors   one shard a layer, and one for what is in no layer
OUTPUT/unfinished/                        state.json, the truth about progress; calibration states; gone at the end
OUTPUT/config.json, ..._report.json       written last: a folder without them is no checkpoint yet
"""

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spokeshave.atomic import write_atomically
from spokeshave.errors import SpokeshaveError, check_kind
from spokeshave.locate import as_path
from spokeshave.schemes.checks import check_function
from spokeshave.streaming.attention_half import AttentionHalf
from spokeshave.streaming.calibration import check_tokens
from spokeshave.streaming.checkpoint import CONFIG, EMBEDDING, INDEX, Checkpoint, open_checkpoint
from spokeshave.streaming.experts import layer_places
from spokeshave.streaming.layer import LayerPruner, LayerStates
from spokeshave.streaming.progress_folder import ProgressFolder, open_progress
from spokeshave.streaming.settings import ExpertPruning
from spokeshave.streaming.states import opened_states
from spokeshave.streaming.tensor_file import open_tensor_file, written_tensors

REPORT = "pruning_report.json"
Progress = Callable[[int, int, str], None]
"""Told how many experts of how many are done, and which layer is being worked on."""


def prune_experts(
    folder: str | Path,
    output: str | Path,
    settings: ExpertPruning | None = None,
    tokens: Tensor | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Prune the experts of a Mixtral checkpoint into a new checkpoint; attention and router stay as they are.

    `tokens` `[sequences, length]`: whole numbers, the calibration text; `magnitude` and `random` need none. One expert
    is in memory at a time, in float32, with a few hundred tokens; states of all tokens lie in files. Called again with
    the same arguments after an interruption, it goes on behind the last whole layer and ends with the same bytes (at
    the same number of threads). Returns what `pruning_report.json` holds: tokens, density and seconds of every layer
    and expert. Raises SpokeshaveError for a checkpoint, data or an output folder that will not do. MoE-Pruner, arXiv
    2410.12013.
    """
    settings = ExpertPruning() if settings is None else settings
    output = as_path("the folder to write", output)
    check_kind("settings", settings, ExpertPruning, "ExpertPruning(...)")
    if progress is not None:
        check_function("prune_experts", "progress", progress)
    checkpoint = open_checkpoint(as_path("the checkpoint's folder", folder))
    checked = check_tokens(tokens, checkpoint.config.vocab_size, settings)
    job = Job(checkpoint, settings, checked, output)
    job.check()
    with _disk(output), open_progress(output, job.task()) as run:
        job.prune_layers(run, progress)
        return job.finish(run)


@dataclass(frozen=True)
class Job:
    """One checkpoint on its way to another folder."""

    checkpoint: Checkpoint
    settings: ExpertPruning
    tokens: Tensor | None
    output: Path

    @property
    def layers(self) -> int:
        """Decoder layers."""
        return int(self.checkpoint.config.num_hidden_layers)

    @property
    def outside(self) -> frozenset[str]:
        """Names of the tensors that are in no layer."""
        return frozenset(self.checkpoint.files) - self.checkpoint.names("model.layers.")

    def check(self) -> None:
        """Raise SpokeshaveError unless every layer is there, of its shapes, and the scheme can serve its experts."""
        half, known = AttentionHalf(self.checkpoint), self.outside
        for layer in range(self.layers):
            half.check(layer, layer_places(self.checkpoint, layer).router)
            known |= self.checkpoint.names(f"model.layers.{layer}.")
        for name in sorted(frozenset(self.checkpoint.files) - known):
            raise SpokeshaveError(
                f"{self.checkpoint.folder} has {name}, its {CONFIG} only {self.layers} layers"
            )
        for columns in sorted((self.checkpoint.config.hidden_size, self.checkpoint.config.intermediate_size)):
            self.settings.row_scheme(columns)

    def task(self) -> dict[str, Any]:
        """What must be the same for a run to go on."""
        data = None
        if self.tokens is not None:
            content = self.tokens.numpy().tobytes() + repr(self.tokens.shape).encode()
            data = sha256(content).hexdigest()
        return {"checkpoint": self.checkpoint.digest(self.outside), "tokens": data} | self.settings.to_dict()

    def check_whole(self, run: ProgressFolder) -> None:
        """Raise SpokeshaveError unless the layers that are whole still are, and come from what the checkpoint holds."""
        for layer, record in enumerate(run.layers):
            shard, prefix = self.output / shard_name(layer, self.layers), f"model.layers.{layer}."
            try:
                open_tensor_file(shard)
            except SpokeshaveError as error:
                raise SpokeshaveError(
                    f"{error}; it was whole: put it back, or remove {self.output} and begin again"
                ) from error
            if record.get("source") != self.checkpoint.digest(self.checkpoint.names(prefix)):
                raise SpokeshaveError(
                    f"{shard} was pruned from other weights than {self.checkpoint.folder} has now in {prefix}*; "
                    "put those back to go on, or name a new folder"
                )

    def prune_layers(self, run: ProgressFolder, progress: Progress | None) -> None:
        """Write the shards of all layers that are not whole yet."""
        self.check_whole(run)
        self._copy_outside()
        half = None
        if self.tokens is not None:
            half = AttentionHalf(self.checkpoint)
            if not run.layers:
                self._embed(self.tokens, run)
        pruner = LayerPruner(self.checkpoint, self.settings, half)
        for layer in range(len(run.layers), self.layers):
            with self._states(run, layer) as states:
                shard = self.output / shard_name(layer, self.layers)
                record = pruner.prune(layer, states, shard, self._reporter(layer, progress))
                if states is not None:
                    states.outputs.flush()
            run.finish_layer(record)

    def finish(self, run: ProgressFolder) -> dict[str, Any]:
        """Write the index, what lies beside, and the report."""
        write_atomically(self.output / INDEX, json.dumps(self._index(), indent=1))
        self.checkpoint.copy_what_lies_beside(self.output)
        report = self._report(run.layers)
        write_atomically(self.output / REPORT, json.dumps(report, indent=1))
        run.remove()
        return report

    def _copy_outside(self) -> None:
        """Write the shard of what is in no layer, first of all: so damage in it is told before hours of pruning."""
        entries = {name: self.checkpoint.entry(name) for name in self.outside}
        with written_tensors(self.output / shard_name(self.layers, self.layers), entries) as writer:
            self.checkpoint.copy(self.outside, writer)

    def _reporter(self, layer: int, progress: Progress | None) -> Callable[[int], None]:
        experts = self.checkpoint.config.num_local_experts

        def report(expert: int) -> None:
            if progress is not None:
                done, total = layer * experts + expert, self.layers * experts
                progress(done, total, f"layer {layer + 1} of {self.layers}")

        return report

    @contextlib.contextmanager
    def _states(self, run: ProgressFolder, layer: int) -> Iterator[LayerStates | None]:
        if self.tokens is None:
            yield None
            return
        columns = self.checkpoint.config.hidden_size
        with contextlib.ExitStack() as files:
            inputs, outputs, normed = (
                files.enter_context(opened_states(path, columns)) for path in run.state_files(layer)
            )
            yield LayerStates(inputs, outputs, normed, *self.tokens.shape)

    def _embed(self, tokens: Tensor, run: ProgressFolder) -> None:
        """Write the states before the first layer: the tokens' embeddings."""
        with opened_states(run.state_files(0)[0], self.checkpoint.config.hidden_size) as states:
            for number, sequence in enumerate(tokens.tolist()):
                rows = [self.checkpoint.rows(EMBEDDING, token, 1) for token in sequence]
                states.put(number * len(sequence), torch.cat(rows))

    def _index(self) -> dict[str, Any]:
        names = [shard_name(number, self.layers) for number in range(self.layers + 1)]
        files = {name: open_tensor_file(self.output / name) for name in names}
        places = {tensor: name for name, file in files.items() for tensor in file.entries}
        sizes = [entry.end - entry.start for file in files.values() for entry in file.entries.values()]
        return {"metadata": {"total_size": sum(sizes)}, "weight_map": dict(sorted(places.items()))}

    def _report(self, layers: list[dict[str, Any]]) -> dict[str, Any]:
        experts = [expert for layer in layers for expert in layer["experts"]]
        sequences, length = (0, 0) if self.tokens is None else self.tokens.shape
        below_floor = sum(not expert["by_inputs"] for expert in experts) if self.settings.needs_tokens else 0
        return self.settings.to_dict() | {
            "sequences": sequences,
            "length": length,
            "density": sum(expert["density"] for expert in experts) / len(experts),
            "below_token_floor": below_floor,
            "seconds": sum(layer["seconds"] for layer in layers),
            "peak_resident_bytes": max(layer["peak_resident_bytes"] for layer in layers),
            "layers": layers,
        }


def shard_name(number: int, layers: int) -> str:
    """The name of a layer's shard; the number of layers names the shard of everything else.

    >>> shard_name(0, 32)
    'model-00001-of-00033.safetensors'
    """
    return f"model-{number + 1:05d}-of-{layers + 1:05d}.safetensors"


@contextlib.contextmanager
def _disk(output: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise SpokeshaveError(
            f"could not write to {output}: {reason}; whole layers are kept, the same command goes on behind them"
        ) from error
