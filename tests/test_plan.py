"""Plans: YAML round trip, every mistake with its line, and which weights of a network a plan means."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from spokeshave.errors import SpokeshaveError
from spokeshave.plan import Plan, Rule
from spokeshave.schemes.block_column_row import BlockColumnRow
from spokeshave.schemes.n_of_m import NOfM
from spokeshave.schemes.ranking import density
from spokeshave.schemes.stacked import Stacked
from spokeshave.schemes.unstructured import Unstructured
from spokeshave.weights import weights_of

TEXT = """\
version: 1
layers:
  "head": dense
  "stage*.conv*": {scheme: block_column_row, sparsity: 0.9, block: [4, 16]}
  "*":
    scheme: unstructured
    sparsity: 0.5
"""


class Network(nn.Module):
    """Convolutions in stages, tied weights, an embedding, a recurrent layer, a position table."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3)
        self.stage1 = nn.ModuleDict({"conv1": nn.Conv2d(8, 16, 3), "norm": nn.BatchNorm2d(16)})
        self.stage2 = nn.Sequential(nn.ModuleDict({"conv1": nn.Conv2d(16, 20, 3)}))
        self.words = nn.Embedding(10, 16)
        self.positions = nn.Parameter(torch.zeros(4, 16))
        self.memory = nn.GRU(16, 12)
        self.twin = nn.Linear(16, 12)
        self.head = nn.Linear(16, 12)
        self.head.weight = self.twin.weight


def rules_strategy():
    sparsity = st.floats(0, 1, exclude_max=True)
    block = st.tuples(st.integers(1, 64), st.integers(1, 256))
    schemes = st.one_of(
        st.none(),
        st.builds(Unstructured, sparsity),
        st.builds(BlockColumnRow, sparsity, block, st.just(0.0), st.sampled_from(["layer", "block"])),
    )
    return st.dictionaries(
        st.text(st.characters(codec="utf-8", exclude_categories=("C",))), schemes, max_size=4
    )


@given(rules_strategy())
@settings(deadline=None)
def test_yaml_round_trip(rules) -> None:
    plan = Plan(tuple(Rule(pattern, scheme) for pattern, scheme in rules.items()))
    assert Plan.from_yaml(plan.to_yaml()) == plan


def test_files(tmp_path) -> None:
    plan = Plan.from_yaml(TEXT)
    plan.save(tmp_path / "plan.yaml")
    assert Plan.load(tmp_path / "plan.yaml") == plan
    assert plan.rules[1] == Rule("stage*.conv*", BlockColumnRow(0.9, (4, 16)))
    with pytest.raises(SpokeshaveError, match=r"absent.yaml cannot be read: No such file"):
        Plan.load(tmp_path / "absent.yaml")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("version: 1\n", "", "mine.yaml: the key 'version' is missing"),
        ("version: 1", "version: 2", "line 1: version: must be 1"),
        (
            "version: 1",
            "version: 1\nlayer: {}",
            "line 2: unknown key 'layer'; a plan has the keys version and",
        ),
        (
            "scheme: unstructured",
            "scheme: random",
            r'line 6: layers."\*": there is no scheme .random.; known .*block',
        ),
        (
            "sparsity: 0.5",
            "sparsity: 1.5",
            r'line 6: layers."\*": .* sparsity must be a number in \[0, 1\), not 1.5',
        ),
        ("sparsity: 0.5", "sparsity: high", "sparsity must be a number"),
        ("sparsity: 0.5", "amount: 0.5", "unstructured has no field 'amount'; its fields are sparsity"),
        ("    sparsity: 0.5\n", "", "unstructured needs a sparsity"),
        ("    scheme: unstructured\n", "", "names no scheme"),
        ("block: [4, 16]", "block: 4", "line 4: .*block must be two positive whole numbers, not 4"),
        ('"*":', '"head":', "line 5: 'head' appears twice in layers"),
        ("sparsity: 0.9", "sparsity: 0.9, sparsity: 0.8", "line 4: 'sparsity' appears twice"),
        ("dense", "sparse", 'line 3: layers."head" must be dense or a scheme such as'),
        ("dense", "", 'line 3: layers."head" must be dense'),
        (TEXT, "", "mine.yaml is empty"),
        (TEXT, "- 1", "line 1: the plan must be a mapping"),
        (TEXT, "version: 1\nlayers: 3", "line 2: layers must be a mapping"),
        ("sparsity: 0.9,", "sparsity: {", "line .*: not YAML"),
        ("sparsity: 0.5", "sparsity: !!python/name:os.system", "line 6: .* not plain YAML"),
    ],
)
def test_mistakes_are_told_with_line_and_key(old, new, message) -> None:
    assert old in TEXT
    with pytest.raises(SpokeshaveError, match=message) as caught:
        Plan.from_yaml(TEXT.replace(old, new), source="mine.yaml")
    assert "mine.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_first_rule_that_matches_decides() -> None:
    schemes = Plan.from_yaml(TEXT).resolve(Network())
    assert {name: type(scheme).__name__ for name, scheme in schemes.items()} == {
        "stem.weight": "Unstructured",
        "stage1.conv1.weight": "BlockColumnRow",
        "stage2.0.conv1.weight": "BlockColumnRow",
        "memory.weight_ih_l0": "Unstructured",
        "memory.weight_hh_l0": "Unstructured",
    }


def test_tied_weights_obey_a_rule_for_either_name() -> None:
    assert list(Plan((Rule("head", Unstructured(0.5)),)).resolve(Network())) == ["twin.weight"]
    assert not Plan((Rule("twin", None), Rule("head", Unstructured(0.5)))).resolve(Network())


def test_tables_are_meant_by_exact_name_only() -> None:
    everything = Plan((Rule("*", Unstructured(0.5)),)).resolve(Network())
    assert not {"words.weight", "positions"} & set(everything)
    named = Plan((Rule("words", Unstructured(0.5)), Rule("positions", Unstructured(0.5)))).resolve(Network())
    assert list(named) == ["positions", "words.weight"]


def test_parameter_names_reach_single_weights() -> None:
    assert list(Plan((Rule("memory.weight_hh*", Unstructured(0.5)),)).resolve(Network())) == [
        "memory.weight_hh_l0"
    ]


@pytest.mark.parametrize("scheme", [None, Unstructured(0.5)])
def test_a_pattern_that_names_nothing(scheme) -> None:
    with pytest.raises(
        SpokeshaveError, match=r"'stage1.conv2' names no layer with weights; the nearest are stage1.conv1"
    ):
        Plan((Rule("stage1.conv2", scheme),)).resolve(Network())


def test_a_block_larger_than_the_layer() -> None:
    plan = Plan((Rule("stem", BlockColumnRow(0.5, (4, 64))),))
    with pytest.raises(
        SpokeshaveError, match=r"'stem' .* 'stem.weight': a block of 4 x 64 is larger .* 8 x 27"
    ):
        plan.resolve(Network())


def test_two_rules_for_one_pattern() -> None:
    with pytest.raises(SpokeshaveError, match="two rules for 'head'"):
        Plan((Rule("head", None), Rule("head", None)))


def test_what_is_no_rule_and_no_scheme() -> None:
    with pytest.raises(SpokeshaveError, match=r"the plan's rule 'head' needs a scheme, such as .*, not 'x'"):
        Rule("head", "x")
    with pytest.raises(SpokeshaveError, match=r"needs a scheme, such as .*BlockColumnRow'>"):
        Rule("head", BlockColumnRow)
    with pytest.raises(SpokeshaveError, match="pattern must be a text, not 3"):
        Rule(3, None)
    with pytest.raises(SpokeshaveError, match=r"a plan is of rules, such as .*, not of 'head'"):
        Plan({"head": None})


def test_exported_programs_resolve_like_their_networks() -> None:
    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(10, 16)
            self.head = nn.Linear(16, 4)

        def forward(self, x):
            return self.head(self.words(x))

    plan = Plan((Rule("*", Unstructured(0.5)),))
    program = torch.export.export(Reader(), (torch.zeros(1, 3, dtype=torch.long),))
    assert plan.resolve(program) == plan.resolve(Reader()) == {"head.weight": Unstructured(0.5)}


@pytest.mark.parametrize("compression", [2, 8, 12.5])
def test_plan_for_a_compression(compression) -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 16, 3),
        nn.Conv2d(16, 16, 3, groups=16),
        nn.Conv2d(16, 48, 3),
        nn.Conv2d(48, 6, 1),
        nn.Linear(6, 2),
    )
    plan = Plan.for_compression(network, compression)
    assert Plan.from_yaml(plan.to_yaml()) == plan
    schemes = plan.resolve(network)
    assert {name: scheme.block for name, scheme in schemes.items()} == {
        "2.weight": (8, 64),
        "3.weight": (6, 48),
    }
    weights = dict(network.named_parameters())
    before = sum(weights[name].numel() for name in schemes)
    after = sum(
        density(scheme.project(weights[name])) * weights[name].numel() for name, scheme in schemes.items()
    )
    assert before / after == pytest.approx(compression, rel=0.02)


def test_no_plan_for_these_compressions() -> None:
    with pytest.raises(SpokeshaveError, match="above 1 and finite, not 1"):
        Plan.for_compression(Network(), 1)
    for compression in ("8", None, float("inf")):
        with pytest.raises(SpokeshaveError, match=f"above 1 and finite, not {compression!r}"):
            Plan.for_compression(Network(), compression)
    with pytest.raises(SpokeshaveError, match="block must be two positive whole numbers, not 8"):
        Plan.for_compression(Network(), 8, block=8)
    with pytest.raises(SpokeshaveError, match="column_group must be a whole number from 1 up, not 0"):
        Plan.for_compression(Network(), 8, column_group=0)
    with pytest.raises(SpokeshaveError, match=r"a plan needs a network, .*, not None"):
        Plan.for_compression(None, 8)
    with pytest.raises(SpokeshaveError, match="no layer between"):
        Plan.for_compression(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)), 8)


def test_weights_of_a_bare_layer() -> None:
    (weight,) = weights_of(nn.Linear(3, 2))
    assert (weight.parameter, weight.layers, weight.shape) == ("weight", ("",), (2, 3))


class Mixture(nn.Module):
    """Fused experts beside a router and a convolution over a sequence, whose weights have three axes as well."""

    def __init__(self) -> None:
        super().__init__()
        self.sequence, self.router = nn.Conv1d(8, 8, 3), nn.Linear(8, 4)
        self.experts = nn.Module()
        self.experts.gate_up_proj = nn.Parameter(torch.randn(4, 6, 8))


def test_every_expert_of_a_stack_is_in_the_scheme() -> None:
    network = Mixture()
    schemes = Plan((Rule("experts", NOfM(2, 4)), Rule("*", Unstructured(0.5)))).resolve(network)
    assert schemes == {
        "experts.gate_up_proj": Stacked(NOfM(2, 4)),
        "sequence.weight": Unstructured(0.5),
        "router.weight": Unstructured(0.5),
    }
    kept = schemes["experts.gate_up_proj"].project(network.experts.gate_up_proj)
    assert torch.equal(kept, torch.stack([NOfM(2, 4).project(w) for w in network.experts.gate_up_proj]))
    with pytest.raises(SpokeshaveError, match="a block of 8 x 8 is larger than the weight's matrix, 6 x 8"):
        Plan((Rule("experts", BlockColumnRow(0.5, (8, 8))),)).resolve(network)


def test_a_compression_clips_blocks_to_experts() -> None:
    network = nn.Sequential(nn.Linear(8, 8), Mixture(), nn.Linear(8, 8))
    schemes = Plan.for_compression(network, 4, block=(8, 16)).resolve(network)
    assert schemes["1.experts.gate_up_proj"] == Stacked(BlockColumnRow(0.75, (6, 8)))
    assert schemes["1.sequence.weight"] == BlockColumnRow(0.75, (8, 16))
