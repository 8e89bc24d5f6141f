"""A recipe: everything that decides how a run ends, as one small YAML file."""

import json
from hashlib import sha256
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from spokeshave.errors import SpokeshaveError

ONE_SOURCE = "exactly one of plan and compression must be given"


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Epochs(_Section):
    """Passes over the training data in each phase; a pretrained network needs none in `dense`."""

    dense: int = Field(default=0, ge=0)
    method: int = Field(default=4, ge=0)
    fine_tune: int = Field(default=2, ge=0)


class LearningRates(_Section):
    """Peak learning rate of each phase."""

    dense: float = Field(default=0.1, gt=0)
    method: float = Field(default=0.02, gt=0)
    fine_tune: float = Field(default=0.02, gt=0)


class Examples(_Section):
    """Fewer training examples in every phase that trains: the share that stays, what is exchanged, by which score.

    Exchanges are at the authors' parts of each phase's epochs (`ExamplePruning.for_epochs`).
    """

    keep: float = Field(default=0.8, gt=0, le=1)
    swap: float | None = Field(default=None, ge=0, le=1)
    score: str = "forgetting"


class Tokens(_Section):
    """A token reducer: in front of which block, and the share of all patches that stays behind it on average.

    Or with `limit` as many reducers as bring the blocks to that share of their time, placed by the device's staircase.
    `scorer`, `decision` and `rest` are names of `tokens.registry`, or mappings with a name and settings; without a
    decision learned scores are trained with Gumbel noise, and others keep the same number of every sample.
    """

    before: int | None = Field(default=None, ge=0)
    keep: float | None = Field(default=None, gt=0, le=1)
    limit: float | None = Field(default=None, gt=0, lt=1)
    scorer: str | dict[str, Any] = "learned"
    decision: str | dict[str, Any] | None = None
    rest: str | dict[str, Any] = "drop"

    @model_validator(mode="after")
    def _one_kind(self) -> "Tokens":
        placed = (self.before is not None, self.keep is not None)
        if self.limit is None and not all(placed):
            raise ValueError("a reducer needs before and keep, or limit alone")
        if self.limit is not None and any(placed):
            raise ValueError("limit finds before and keep; leave those out")
        return self


def _listed(setting: Any) -> Any:
    """A single reducer needs no list."""
    return [setting] if isinstance(setting, dict) else setting


class Recipe(_Section):
    """The whole job.

    Either `plan` (a YAML file or a built-in plan) or `compression` (a plan is made with that many times fewer weights
    in the pruned layers) is given; with `tokens` neither need be, nor for a device that proposes a plan of its own,
    which then chooses the method too unless one is given (`devices/proposals.py`). `settings` are the method's own
    (`rho: 0.01`; a `criterion` by name, or as a mapping such as `{name: block_fisher, block: [8, 64]}`).
    `batch_size` and `samples_per_epoch` are for built-in data; loaders of the user's own keep theirs.
    `examples` trains on a part of them (Tri-Level E-ViT's example level). `tokens` puts token reducers into a vision
    transformer behind the dense phase: they are trained masked, and deployed as gathers. `precision` is that of the
    training's forward and backward operators; the deployment's is another matter.
    Simulated devices are judged on `judged_samples` held-out samples at most.
    `peers` limits what the deployment is timed beside, in `rounds` rounds.
    """

    network: str
    data: str
    device: str = "host"
    plan: str | None = None
    compression: float | None = Field(default=None, gt=1)
    method: Literal[
        "admm",
        "during_training",
        "one_shot",
        "quantization_aware",
        "randomized_binary",
        "reconstruction",
        "reweighted_group_lasso",
    ] = "admm"
    settings: dict[str, float | int | str | bool | dict[str, Any]] = Field(default_factory=dict)
    epochs: Epochs = Epochs()
    learning_rates: LearningRates = LearningRates()
    optimizer: Literal["sgd", "adamw"] = "sgd"
    weight_decay: float = Field(default=5e-4, ge=0)
    batch_size: int = Field(default=64, ge=1)
    samples_per_epoch: int | None = Field(default=None, ge=1)
    examples: Examples | None = None
    tokens: Annotated[tuple[Tokens, ...] | None, BeforeValidator(_listed), Field(min_length=1)] = None
    distillation: bool = True
    precision: Literal["float32", "bfloat16"] = "float32"
    seed: int = Field(default=0, ge=0, lt=2**31)
    threads: int = Field(default=1, ge=1)
    rounds: int = Field(default=15, ge=3)
    peers: tuple[str, ...] | None = None
    judged_samples: int = Field(default=1000, ge=1)

    @model_validator(mode="after")
    def _one_source_of_plan(self) -> "Recipe":
        if self.plan is not None and self.compression is not None:
            raise ValueError(ONE_SOURCE)
        return self

    def trained_by(self, method: str, last: bool) -> "Recipe":
        """The recipe with a method, and nothing behind it if it is `last`; entries that were given stay."""
        if "method" in self.model_fields_set:
            return self
        epochs = {"fine_tune": 0} if last and "fine_tune" not in self.epochs.model_fields_set else {}
        return self.model_copy(update={"method": method, "epochs": self.epochs.model_copy(update=epochs)})

    @classmethod
    def parse(cls, document: Any, source: str = "recipe") -> "Recipe":
        """The recipe of a mapping; raises SpokeshaveError naming the first wrong key.

        >>> Recipe.parse({"network": "digits", "data": "digits", "compression": 8}).epochs.fine_tune
        2
        """
        try:
            return cls.model_validate(document)
        except ValidationError as error:
            raise SpokeshaveError(f"{source}: {_first_sentence(error)}") from error

    @classmethod
    def from_yaml(cls, text: str, source: str = "recipe.yaml") -> "Recipe":
        """The recipe of a YAML text; raises SpokeshaveError naming the line or the first wrong key."""
        return cls.parse(read_mapping(text, source), source)

    def to_yaml(self) -> str:
        """A text that `from_yaml` reads back to an equal recipe."""
        return yaml.safe_dump(self.model_dump(mode="json", exclude_none=True), sort_keys=False)

    @property
    def digest(self) -> str:
        """SHA-256 of the recipe's contents, in hexadecimal."""
        return sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()


def read_mapping(text: str, source: str) -> dict[str, Any]:
    """The mapping in a YAML text, not yet checked; raises SpokeshaveError when it is not one."""
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SpokeshaveError(f"{source} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(document, dict):
        raise SpokeshaveError(f"{source} must be a mapping with keys such as network, data and compression")
    return document


def _first_sentence(error: ValidationError) -> str:
    """`epochs.dense: input should be greater than or equal to 0 (got -1)`."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        known = ", ".join(_known_keys(first["loc"]))
        return f"there is no key {where!r}; known ones are {known}"
    given = "" if isinstance(first["input"], dict) else f" (got {first['input']!r})"
    return f"{where}: {message[0].lower()}{message[1:]}{given}" if where else message


def _known_keys(location: tuple[int | str, ...]) -> list[str]:
    sections: dict[str, type[BaseModel]] = {
        "epochs": Epochs,
        "learning_rates": LearningRates,
        "examples": Examples,
        "tokens": Tokens,
    }
    section = sections.get(str(location[0]), Recipe) if len(location) > 1 else Recipe
    return list(section.model_fields)
