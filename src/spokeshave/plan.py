"""Which scheme for which weight of a network."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from glob import escape
from pathlib import Path

from torch import nn
from torch.export import ExportedProgram

from spokeshave.errors import SpokeshaveError, check_kind
from spokeshave.locate import as_path
from spokeshave.plan_text import parse, render
from spokeshave.schemes.block_column_row import BlockColumnRow
from spokeshave.schemes.checks import as_block, check_above, check_count
from spokeshave.schemes.scheme import Scheme, check_scheme
from spokeshave.schemes.stacked import Stacked
from spokeshave.weights import Weight, layer_of, weights_of


@dataclass(frozen=True)
class Rule:
    """`pattern` is a shell-style pattern over layer or parameter names; without `scheme` they stay dense."""

    pattern: str
    scheme: Scheme | None

    def __post_init__(self) -> None:
        if not isinstance(self.pattern, str):
            raise SpokeshaveError(f"a rule's pattern must be a text, not {self.pattern!r}")
        check_scheme(f"the plan's rule {self.pattern!r}", self.scheme)

    def covers(self, weight: Weight) -> bool:
        """Whether the pattern means a weight: by a name of it, or of its layer."""
        names = (*weight.layers, *weight.names)
        return self.pattern in names or (
            weight.wanted and any(fnmatchcase(name, self.pattern) for name in names)
        )


@dataclass(frozen=True)
class Plan:
    """Rules in order: the first one that covers a weight decides, and a weight that none covers stays dense.

    >>> plan = Plan((Rule("head", None), Rule("*", BlockColumnRow(0.9))))
    >>> Plan.from_yaml(plan.to_yaml()) == plan
    True
    """

    rules: tuple[Rule, ...]

    def __post_init__(self) -> None:
        check_kind("a plan's rules", self.rules, Iterable, 'rules, such as (Rule("head", None),)')
        object.__setattr__(self, "rules", tuple(self.rules))
        for rule in self.rules:
            if not isinstance(rule, Rule):
                raise SpokeshaveError(f'a plan is of rules, such as Rule("head", None), not of {rule!r}')
        patterns = [rule.pattern for rule in self.rules]
        for pattern in patterns:
            if patterns.count(pattern) > 1:
                raise SpokeshaveError(f"the plan has two rules for {pattern!r}")

    @classmethod
    def from_yaml(cls, text: str, source: str = "plan.yaml") -> "Plan":
        """Read a plan; raises SpokeshaveError with `source`, line and key of the first mistake."""
        check_kind("a plan's YAML", text, str, "a text")
        return cls(tuple(Rule(pattern, scheme) for pattern, scheme in parse(text, source)))

    def to_yaml(self) -> str:
        """The plan as a text that a person can read and edit."""
        return render(tuple((rule.pattern, rule.scheme) for rule in self.rules))

    @classmethod
    def load(cls, path: str | Path) -> "Plan":
        """Read a plan's file."""
        try:
            text = as_path("a plan's file", path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not a text"
            raise SpokeshaveError(f"the plan {path} cannot be read: {reason}") from error
        return cls.from_yaml(text, str(path))

    def save(self, path: str | Path) -> None:
        """Write the plan's file."""
        Path(path).write_text(self.to_yaml(), encoding="utf-8")

    @classmethod
    def for_compression(
        cls,
        network: nn.Module | ExportedProgram,
        compression: float,
        block: tuple[int, int] = (8, 64),
        column_group: int = 1,
    ) -> "Plan":
        """A plan under which the pruned layers together have `compression` times fewer weights.

        The first and the last layer and depthwise convolutions stay dense: they hold few weights, and the
        network is most sensitive there. All others become block column-row sparse with the same sparsity;
        blocks are clipped to layers that are smaller. `column_group` is the scheme's (4 for int8), and 1 in layers
        whose input channels, or blocks, it does not divide.
        """
        check_above("a plan", "compression", compression, 1)
        check_count("a plan", "column_group", column_group)
        block = as_block("a plan", block)
        weights = [weight for weight in weights_of(network) if weight.wanted]
        dense = [weight for weight in weights if weight in (weights[0], weights[-1]) or _is_depthwise(weight)]
        if len(dense) == len(weights):
            raise SpokeshaveError(
                "the network has no layer between its first and its last one to prune; give a plan of your own (--plan)"
            )
        sparsity = 1 - 1 / compression
        rules = [Rule(pattern_for(weight, weights), None) for weight in dense]
        for weight in weights:
            rows, columns = weight.matrix
            clipped = min(block[0], rows), min(block[1], columns)
            inputs = columns if weight.stacked else weight.shape[1]
            group = 1 if inputs % column_group or clipped[1] % column_group else column_group
            if weight not in dense and (*clipped, group) != (*block, column_group):
                scheme = BlockColumnRow(sparsity, clipped, column_group=group)
                rules.append(Rule(pattern_for(weight, weights), scheme))
        return cls((*rules, Rule("*", BlockColumnRow(sparsity, block, column_group=column_group))))

    def resolve(self, network: nn.Module | ExportedProgram) -> dict[str, Scheme]:
        """Scheme by parameter name, for every weight that does not stay dense.

        Wildcards mean the weights of convolutions, linear and recurrent layers, and the experts of a mixture;
        embeddings and other tables must be named. Of a stack of matrices, such as fused experts, each lies in the
        scheme by itself. Raises SpokeshaveError for a pattern that names no layer, and for a scheme that
        does not suit a weight it is meant for.
        """
        weights = weights_of(network)
        for rule in self.rules:
            if not any(rule.covers(weight) for weight in weights):
                raise SpokeshaveError(_names_nothing(rule.pattern, weights))
        schemes = {}
        for weight in weights:
            decisive = next((rule for rule in self.rules if rule.covers(weight)), None)
            if decisive is not None and decisive.scheme is not None:
                scheme = _for_each(decisive.scheme) if weight.stacked else decisive.scheme
                _check_suits(decisive.pattern, scheme, weight)
                schemes[weight.parameter] = scheme
        return schemes


def _for_each(scheme: Scheme) -> Scheme:
    return scheme if isinstance(scheme, Stacked) else Stacked(scheme)


def _check_suits(pattern: str, scheme: Scheme, weight: Weight) -> None:
    reason = scheme.supports(weight.shape)
    if reason is not None:
        raise SpokeshaveError(f"the plan's rule {pattern!r} does not suit {weight.parameter!r}: {reason}")


def _names_nothing(pattern: str, weights: tuple[Weight, ...]) -> str:
    names = sorted({name for weight in weights for name in (*weight.layers, *weight.names) if name})
    near = get_close_matches(pattern, names, n=3, cutoff=0.4) or names[:3]
    return f"the plan's rule {pattern!r} names no layer with weights; the nearest are {', '.join(near)}"


def _is_depthwise(weight: Weight) -> bool:
    return len(weight.shape) > 2 and weight.shape[1] == 1 and not weight.stacked


def pattern_for(weight: Weight, weights: Sequence[Weight]) -> str:
    """The pattern of a rule for one weight: its layer's name where that means it alone, else its own."""
    layer = layer_of(weight.parameter)
    alone = sum(layer in other.layers for other in weights) == 1
    return escape(layer if layer and alone else weight.parameter)
