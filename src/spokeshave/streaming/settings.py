"""What to prune in every expert, and by which criterion."""

from dataclasses import dataclass
from typing import Any

from spokeshave.errors import SpokeshaveError
from spokeshave.schemes.checks import check_count
from spokeshave.schemes.n_of_m import NOfM
from spokeshave.schemes.ranking import kept_count
from spokeshave.schemes.registry import scheme_to_dict
from spokeshave.schemes.unstructured import Unstructured

CRITERIA = ("moe_pruner", "wanda", "magnitude", "random")
NEED_TOKENS = ("moe_pruner", "wanda")
HALF = Unstructured(0.5)


@dataclass(frozen=True)
class ExpertPruning:
    """Pruning of a mixture's experts, one shot, weights compared within output rows alone.

    `scheme`: `Unstructured(p)` removes p of every row, `NOfM(2, 4)` two of every four inputs. `criterion`:
    `moe_pruner`, `|w_ij| ||gate * X_j||` over the tokens routed to the expert, gate being what its router gave it
    (arXiv 2410.12013); `wanda`, the same with gates of 1 (arXiv 2306.11695); `magnitude`; `random`, from `seed`. An
    expert to which fewer than `token_floor` tokens are routed is pruned by its weights alone.
    """

    scheme: Unstructured | NOfM = HALF
    criterion: str = "moe_pruner"
    token_floor: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.scheme, Unstructured | NOfM):
            raise SpokeshaveError(f"experts are pruned to Unstructured or NOfM, not to {self.scheme!r}")
        if self.criterion not in CRITERIA:
            raise SpokeshaveError(
                f"there is no criterion {self.criterion!r} for experts; there are {', '.join(CRITERIA)}"
            )
        check_count("experts", "token_floor", self.token_floor, 0)
        check_count("experts", "seed", self.seed, 0)

    @property
    def needs_tokens(self) -> bool:
        """Whether the criterion looks at inputs."""
        return self.criterion in NEED_TOKENS

    def row_scheme(self, columns: int) -> NOfM:
        """The scheme of rows of this length; raises SpokeshaveError for rows it cannot serve."""
        reason = self.scheme.supports((1, columns))
        if reason:
            raise SpokeshaveError(
                f"{self.scheme} cannot serve the experts' rows of {columns} weights: {reason}"
            )
        if isinstance(self.scheme, Unstructured):
            return NOfM(kept_count(columns, self.scheme.sparsity), columns)
        return self.scheme

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for reports."""
        return {
            "scheme": scheme_to_dict(self.scheme),
            "criterion": self.criterion,
            "token_floor": self.token_floor,
            "seed": self.seed,
        }
