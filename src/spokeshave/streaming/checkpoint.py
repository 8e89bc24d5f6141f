"""A checkpoint of Mixtral's architecture on disk: its config, and its tensors by name in whichever shards."""

import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from spokeshave.errors import SpokeshaveError
from spokeshave.schemes.checks import check_above, check_count
from spokeshave.streaming.tensor_file import Entry, TensorFile, TensorWriter, open_tensor_file

if TYPE_CHECKING:
    from transformers import MixtralConfig

CONFIG, SINGLE, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
EMBEDDING, NORM = "model.embed_tokens.weight", "model.norm.weight"
BESIDE = (".json", ".txt", ".model", ".jinja")  # what lies beside weights: tokenizers, generation settings


@dataclass(frozen=True)
class Checkpoint:
    """A folder as transformers writes it; make one with `open_checkpoint`."""

    folder: Path
    config: "MixtralConfig"
    files: Mapping[str, TensorFile]

    def entry(self, name: str) -> Entry:
        """Type and shape of a tensor; raises SpokeshaveError when there is none of the name."""
        if name not in self.files:
            raise SpokeshaveError(f"{self.folder} has no tensor {name}, which its {CONFIG} asks for")
        return self.files[name].entries[name]

    def check(self, name: str, shape: tuple[int, ...]) -> None:
        """Raise SpokeshaveError unless the tensor has the shape that the config implies, and is of a type to prune."""
        found = self.entry(name).shape
        if found != shape:
            raise SpokeshaveError(f"{name} has shape {found}, {CONFIG} of {self.folder} asks for {shape}")
        self.files[name].check_floating(name)

    def rows(self, name: str, first: int = 0, count: int | None = None) -> Tensor:
        """Rows `[count, columns]` of a tensor as float32; raises SpokeshaveError where they are not finite."""
        self.entry(name)
        return self.files[name].rows(name, first, count).float()

    def tensor(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """A whole tensor of this shape as float32."""
        self.check(name, shape)
        return self.rows(name).view(shape)

    def names(self, prefix: str) -> frozenset[str]:
        """Names of the tensors that begin so."""
        return frozenset(name for name in self.files if name.startswith(prefix))

    def copy(self, names: Iterable[str], writer: TensorWriter) -> None:
        """Put tensors into a new file as they are."""
        for name in sorted(names):
            writer.copy(name, self.files[name])

    def activation(self) -> Callable[[Tensor], Tensor]:
        """The experts' activation function."""
        from transformers.activations import ACT2FN

        found: Callable[[Tensor], Tensor] = ACT2FN[self.config.hidden_act]
        return found

    def digest(self, names: Iterable[str]) -> str:
        """Changes when the config, or a type, shape or sampled bytes of the tensors do: not when files are put back."""
        digest = sha256(self.config.to_json_string().encode())
        for name in sorted(names):
            entry = self.entry(name)
            digest.update(repr((name, entry.dtype, entry.shape)).encode())
            digest.update(self.files[name].sample(name))
        return digest.hexdigest()

    def copy_what_lies_beside(self, output: Path) -> None:
        """Copy the config, the tokenizer and other small files; weights and their index are left out."""
        for path in sorted(self.folder.iterdir()):
            if path.is_file() and path.suffix in BESIDE and not path.name.endswith(".index.json"):
                shutil.copyfile(path, output / path.name)


def open_checkpoint(folder: Path) -> Checkpoint:
    """Read config, index and headers; raises SpokeshaveError for what is missing, cut short or another architecture."""
    if not folder.is_dir():
        raise SpokeshaveError(f"there is no folder {folder}")
    config = _config(folder)
    checkpoint = Checkpoint(folder, config, _files(folder))
    checkpoint.check(EMBEDDING, (config.vocab_size, config.hidden_size))
    checkpoint.check(NORM, (config.hidden_size,))
    return checkpoint


def _config(folder: Path) -> "MixtralConfig":
    document = _json(folder / CONFIG)
    kind = document.get("model_type")
    if kind != "mixtral":
        raise SpokeshaveError(
            f"{folder / CONFIG} is of model type {kind!r}; only mixtral can be pruned expert by expert"
        )
    try:
        from transformers import MixtralConfig
        from transformers.activations import ACT2FN
    except ImportError as error:
        raise SpokeshaveError(
            "Mixtral checkpoints need the extra: pip install 'spokeshave[models]'"
        ) from error
    try:
        config = MixtralConfig.from_dict(document)
    except Exception as error:  # transformers raises errors of many kinds here
        reason = " ".join(str(error).split())
        raise SpokeshaveError(f"{folder / CONFIG} is no config of a Mixtral: {reason}") from error
    if config.hidden_act not in ACT2FN:
        raise SpokeshaveError(
            f"{folder / CONFIG}: hidden_act {config.hidden_act!r} is no activation of transformers"
        )
    check_count(str(folder / CONFIG), "num_hidden_layers", config.num_hidden_layers)
    check_above(str(folder / CONFIG), "rms_norm_eps", config.rms_norm_eps)
    if config.sliding_window is not None:
        check_count(str(folder / CONFIG), "sliding_window", config.sliding_window)
    if not 1 <= config.num_experts_per_tok <= config.num_local_experts:
        raise SpokeshaveError(
            f"{folder / CONFIG}: num_experts_per_tok must be from 1 to the {config.num_local_experts} experts, "
            f"not {config.num_experts_per_tok}"
        )
    return config


def _files(folder: Path) -> dict[str, TensorFile]:
    """The file of every tensor; every shard is there and whole."""
    if not (folder / INDEX).is_file():
        if not (folder / SINGLE).is_file():
            raise SpokeshaveError(f"{folder} has neither {INDEX} nor {SINGLE}; one of them is needed")
        single = open_tensor_file(folder / SINGLE)
        return dict.fromkeys(single.entries, single)
    places = _json(folder / INDEX).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()):
        raise SpokeshaveError(f"{folder / INDEX} has no weight_map of tensors' names and their files'")
    shards = {name: _shard(folder / name) for name in sorted(set(places.values()))}
    for tensor, name in places.items():
        if tensor not in shards[name].entries:
            raise SpokeshaveError(f"{folder / name} lacks {tensor}, which {INDEX} says is there")
    return {tensor: shards[name] for tensor, name in places.items()}


def _shard(path: Path) -> TensorFile:
    if not path.is_file():
        raise SpokeshaveError(
            f"there is no file {path}, which {INDEX} names; "
            "put it there and give the same command again: layers that are whole are kept"
        )
    return open_tensor_file(path)


def _json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise SpokeshaveError(f"there is no file {path}") from error
    except (OSError, ValueError) as error:
        raise SpokeshaveError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(document, dict):
        raise SpokeshaveError(f"{path} holds no JSON object")
    return document
