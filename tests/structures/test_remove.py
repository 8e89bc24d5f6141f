"""Smaller networks against masked ones and against slices made by hand; what has to stay and why."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from spokeshave.compiler import compile_network
from spokeshave.criteria import InputNorm, Taylor, saliencies
from spokeshave.errors import SpokeshaveError
from spokeshave.networks.cifar_resnet import cifar_resnet
from spokeshave.networks.imagenet import InvertedResidual, mobilenet_v2
from spokeshave.structures import MultiplyAdds, remove_structures
from spokeshave.workload import trace


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


def shaken(network):
    """Batch norms as training leaves them: a channel of zeros must not come out as anything but removed."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.weight, module.bias, module.running_mean):
                values.data.normal_(std=0.5)
            module.running_var.uniform_(0.5, 2)
    return network.eval()


def check(network, smaller, example):
    """Equal outputs; the masked network is the old one with zeros; fewer weights; the old one is as it was."""
    inputs = torch.randn(3, *example.shape[1:])
    with torch.no_grad():
        found, expected = (outputs(each(inputs)) for each in (smaller.network, smaller.masked))
    assert torch.allclose(found, expected, atol=1e-4 * float(expected.abs().max()))
    for (_, before), (_, after) in zip(
        network.named_parameters(), smaller.masked.named_parameters(), strict=True
    ):
        assert torch.equal(after[after != 0], before[after != 0])
    count = [sum(p.numel() for p in each.parameters()) for each in (smaller.network, network)]
    assert count[0] < count[1]
    assert smaller.multiply_adds == (
        trace(smaller.network, example).multiply_adds,
        trace(network, example).multiply_adds,
    )


def outputs(value):
    return value if isinstance(value, torch.Tensor) else next(iter(value.values()))


def check_compiles(smaller, example):
    inputs = torch.randn(2, *example.shape[1:])
    compiled = compile_network(smaller.network, example)
    with torch.no_grad():
        expected = outputs(smaller.network(inputs))
    assert torch.allclose(outputs(compiled(inputs)), expected, atol=1e-3 * float(expected.abs().max()))


def test_two_layers_are_what_slicing_by_hand_gives():
    layers = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 5, 3)
    network = shaken(nn.Sequential(*layers))
    smaller = remove_structures(network, torch.zeros(1, 3, 8, 8), {"0": 0.5})
    worth = layers[0].weight.square().sum((1, 2, 3)) + layers[3].weight.square().sum((0, 2, 3))
    kept = worth.topk(4).indices.sort().values
    first, norm, _, last = smaller.network
    assert torch.equal(first.weight, layers[0].weight[kept])
    assert torch.equal(first.bias, layers[0].bias[kept])
    assert torch.equal(norm.running_mean, layers[1].running_mean[kept])
    assert torch.equal(last.weight, layers[3].weight[:, kept])
    assert (first.out_channels, norm.num_features, last.in_channels) == (4, 4, 4)
    assert smaller.outputs == {"0": (4, 8), "3": (5, 5)}
    assert smaller.left == {}
    check(network, smaller, torch.zeros(1, 3, 8, 8))


def test_the_criterion_decides():
    network = nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 3))
    batches = [(torch.randn(32, 6), torch.randint(3, (32,)))]
    found = saliencies(Taylor(), network, ["0.weight", "2.weight"], batches)
    worth = found["0.weight"].sum(1) + found["2.weight"].sum(0)
    smaller = remove_structures(network, torch.zeros(1, 6), 0.25, Taylor(), batches).network
    assert torch.equal(smaller[0].weight, network[0].weight[worth.topk(3).indices.sort().values])


def test_reading_a_parametrized_weight_changes_nothing():
    normed = nn.utils.parametrizations.spectral_norm(nn.Linear(6, 12))
    network = nn.Sequential(normed, nn.ReLU(), nn.Linear(12, 12), nn.ReLU(), nn.Linear(12, 3)).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    remove_structures(network, torch.zeros(1, 6), 0.5)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert network.training


def test_an_attribute_may_be_called_parametrizations():
    network = nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 3))
    network[0].parametrizations = 3
    assert remove_structures(network, torch.zeros(1, 6), 0.5).network[0].out_features == 6


def test_parametrized_weights_are_left_with_a_reason():
    normed = nn.utils.parametrizations.weight_norm(nn.Conv2d(8, 8, 3))
    layers = (
        nn.Conv2d(3, 8, 3),
        nn.ReLU(),
        normed,
        nn.ReLU(),
        nn.Conv2d(8, 8, 1),
        nn.ReLU(),
        nn.Conv2d(8, 2, 1),
    )
    network = nn.Sequential(*layers).eval()
    smaller = remove_structures(network, torch.zeros(1, 3, 8, 8), 0.5)
    assert set(smaller.left) == {"0", "2", "6"}
    assert smaller.left["0"].startswith("what reads its outputs has a weight that is computed")
    assert smaller.left["2"].startswith("a parametrization makes its weight")
    check(network, smaller, torch.zeros(1, 3, 8, 8))
    named = remove_structures(network, torch.zeros(1, 3, 8, 8), {"2": 0.5, "4": 0.5})
    assert set(named.left) == {"2"}


def test_what_goes_with_a_parametrized_weight_stays():
    class Added(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.other, self.last = nn.Linear(4, 8), nn.Linear(4, 8), nn.Linear(8, 8)
            self.head = nn.Linear(8, 2)
            nn.utils.parametrize.register_parametrization(self.other, "weight", nn.Tanh())

        def forward(self, inputs):
            return self.head(self.last(self.one(inputs) + self.other(inputs)).relu())

    smaller = remove_structures(Added().eval(), torch.zeros(1, 4), 0.5)
    assert smaller.outputs == {"one": (8, 8), "last": (4, 8), "head": (2, 2)}
    assert smaller.left["one"] == smaller.left["other"]


def test_a_residual_network_shrinks_through_its_shortcuts():
    network, example = shaken(cifar_resnet(8)), torch.zeros(1, 3, 32, 32)
    before = copy.deepcopy(network.state_dict())
    smaller = remove_structures(network, example, 0.5)
    check(network, smaller, example)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert smaller.outputs["layer1.0.conv1"] == smaller.outputs["conv1"] == (8, 16)
    assert smaller.outputs["layer3.0.conv1"] == (32, 64)
    assert smaller.outputs["layer3.0.conv2"] == (56, 64)
    assert smaller.left["layer3.0.conv2"] == "48 of its 64 outputs stay: the network pads it with zeros"
    assert smaller.left["linear"] == "its outputs are the network's outputs"
    by_hand = (27 * 8 + 2 * 72 * 8) * 1024 + (72 * 16 + 144 * 24) * 256 + (24 * 9 * 32 + 288 * 56) * 64 + 560
    assert smaller.multiply_adds[0] == by_hand
    check_compiles(smaller, example)


def test_inner_channels_of_blocks_alone():
    network, example = shaken(cifar_resnet(8)), torch.zeros(1, 3, 32, 32)
    smaller = remove_structures(network, example, {"layer*.conv1": 0.25})
    check(network, smaller, example)
    assert smaller.outputs["layer2.0.conv1"] == (8, 32)
    assert smaller.outputs["layer2.0.conv2"] == (32, 32)
    assert smaller.left == {}
    assert smaller.multiply_adds[0] / smaller.multiply_adds[1] == pytest.approx(0.25, abs=0.05)


def test_layers_that_are_added_go_together():
    network, example = shaken(cifar_resnet(8)), torch.zeros(1, 3, 32, 32)
    with pytest.raises(
        SpokeshaveError, match=r"layer1\.0\.conv2: its outputs go together with those of conv1"
    ):
        remove_structures(network, example, {"layer1.0.conv2": 0.5})
    smaller = remove_structures(network, example, {"*conv2": 0.5, "conv1": 0.75})
    assert smaller.outputs["layer1.0.conv2"] == smaller.outputs["conv1"] == (12, 16)


@pytest.mark.parametrize("remaining", [0.7, 0.4])
def test_a_budget_of_multiply_adds_is_met(remaining):
    network, example = shaken(cifar_resnet(8)), torch.zeros(1, 3, 32, 32)
    smaller = remove_structures(network, example, MultiplyAdds(remaining, ("*conv*",)))
    after, before = smaller.multiply_adds
    assert after / before == pytest.approx(remaining, rel=0.03)  # one channel of 16 is 2 to 3 %
    check(network, smaller, example)


def test_filters_of_convolutions_over_volumes():
    layers = nn.Conv3d(2, 8, 3), nn.BatchNorm3d(8), nn.ReLU(), nn.Conv3d(8, 6, (1, 2, 2))
    network = nn.Sequential(*layers).eval()
    smaller = remove_structures(network, torch.zeros(1, 2, 6, 6, 6), 0.5)
    assert smaller.network[0].weight.shape == (4, 2, 3, 3, 3)
    assert smaller.network[3].weight.shape == (6, 4, 1, 2, 2)
    check(network, smaller, torch.zeros(1, 2, 6, 6, 6))


def test_channels_of_a_group_norms_group_go_together():
    layers = nn.Conv2d(3, 16, 3), nn.GroupNorm(4, 16), nn.ReLU(), nn.Conv2d(16, 5, 3)
    network = nn.Sequential(*layers)
    nn.init.normal_(network[1].bias)
    smaller = remove_structures(network, torch.zeros(1, 3, 8, 8), {"0": 0.5})
    assert (smaller.network[1].num_groups, smaller.network[1].num_channels) == (2, 8)
    check(network, smaller, torch.zeros(1, 3, 8, 8))
    whole = nn.Sequential(layers[0], nn.GroupNorm(1, 16), layers[3])
    with pytest.raises(SpokeshaveError, match="0: a group norm of one group"):
        remove_structures(whole, torch.zeros(1, 3, 8, 8), {"0": 0.5})


class Heard(nn.Module):
    """A linear layer, a recurrent one and a linear one on its last step."""

    def __init__(self, recurrent, last):
        super().__init__()
        self.entry, self.recurrent, self.head = nn.Linear(8, 12), recurrent, nn.Linear(last, 4)

    def forward(self, steps):
        return self.head(self.recurrent(torch.relu(self.entry(steps)))[0][:, -1])


@pytest.mark.parametrize(
    ("recurrent", "last"),
    [
        (nn.GRU(12, 10, 2, batch_first=True), 10),
        (nn.LSTM(12, 10, batch_first=True, bidirectional=True), 20),
        (nn.RNN(12, 10, batch_first=True, bias=False), 10),
    ],
)
def test_units_of_recurrent_layers_go_with_their_gates_and_neighbours(recurrent, last):
    network, example = Heard(recurrent, last).eval(), torch.zeros(1, 5, 8)
    smaller = remove_structures(network, example, 0.5)
    check(network, smaller, example)
    found = smaller.network.recurrent
    assert (found.input_size, found.hidden_size) == (6, 5)
    assert smaller.network.head.in_features == last // 2
    assert smaller.outputs["recurrent"] == (5, 10)
    with torch.no_grad():  # steps of another number than the example's
        assert smaller.network(torch.randn(2, 9, 8)).shape == (2, 4)


def test_what_recurrent_layers_and_attention_keep_has_a_reason():
    class Given(Heard):
        def forward(self, steps, state):
            return self.head(self.recurrent(torch.relu(self.entry(steps)), state)[0][:, -1])

    network = Given(nn.GRU(12, 10, batch_first=True), 10).eval()
    smaller = remove_structures(network, (torch.zeros(1, 5, 8), torch.zeros(1, 1, 10)), 0.5)
    assert smaller.outputs["entry"] == (6, 12)
    assert smaller.left["recurrent"] == "its first states are given"

    class Attending(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention, self.head = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 4)

        def forward(self, tokens):
            return self.head(self.attention(tokens, tokens, tokens, need_weights=False)[0])

    smaller = remove_structures(Attending().eval(), torch.zeros(1, 5, 8), 0.5)
    assert "PyTorch's MultiheadAttention counts on all of its heads" in smaller.left["attention"]
    assert smaller.outputs["attention.out_proj"] == (4, 8)


def test_inverted_residuals():
    blocks = InvertedResidual(3, 8, 1, 4), InvertedResidual(8, 8, 1, 6), InvertedResidual(8, 12, 2, 6)
    network, example = (
        shaken(nn.Sequential(*blocks, nn.Flatten(), nn.Linear(192, 10))),
        torch.zeros(1, 3, 8, 8),
    )
    smaller = remove_structures(network, example, 0.5)
    check(network, smaller, example)
    depthwise = smaller.network[1].conv[1][0]
    assert depthwise.groups == depthwise.in_channels == 24
    assert smaller.network[4].in_features == 96
    check_compiles(smaller, example)


@pytest.mark.slow
def test_mobilenet_v2():
    network, example = shaken(mobilenet_v2()), torch.zeros(1, 3, 64, 64)
    smaller = remove_structures(network, example, 0.5)
    check(network, smaller, example)
    assert set(smaller.left) == {"classifier.1"}
    assert smaller.multiply_adds[0] / smaller.multiply_adds[1] == pytest.approx(0.29, abs=0.01)
    check_compiles(smaller, example)


class Attention(nn.Module):
    """As image transformers write it: one matrix for query, key and value."""

    def __init__(self, width, heads, own_size):
        super().__init__()
        self.num_heads, self.head_dim, self.own_size = heads, width // heads, own_size
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens):
        samples, count, width = tokens.shape
        size = self.head_dim if self.own_size else width // self.num_heads
        qkv = self.qkv(self.norm(tokens)).reshape(samples, count, 3, self.num_heads, size)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        weights = (query * size**-0.5 @ key.transpose(-2, -1)).softmax(-1)
        features = (weights @ value).transpose(1, 2).flatten(2)
        return tokens + self.proj(features)


def test_heads_of_one_matrix_for_query_key_and_value():
    network, example = nn.Sequential(Attention(24, 6, own_size=True), nn.Linear(24, 4)), torch.zeros(1, 5, 24)
    smaller = remove_structures(network, example, {"0.qkv": 1 / 3})
    check(network, smaller, example)
    assert smaller.network[0].num_heads == 2
    assert smaller.network[0].head_dim == 4
    assert smaller.network[0].qkv.weight.shape == (24, 24)
    assert smaller.network[0].proj.weight.shape == (24, 8)
    check_compiles(smaller, example)


def test_code_that_counts_on_all_heads_is_left_alone():
    attention = Attention(24, 6, own_size=False)
    network, example = (
        nn.Sequential(attention, nn.Linear(24, 8), nn.ReLU(), nn.Linear(8, 4)),
        torch.zeros(1, 5, 24),
    )
    smaller = remove_structures(network, example, 0.5)
    check(network, smaller, example)
    assert smaller.left["0.qkv"].startswith("the network's code does not run with fewer: shape")
    assert "such as the network's inputs" in smaller.left["0.proj"]
    assert smaller.outputs["1"] == (4, 8)


def test_heads_of_a_vision_transformer():
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    sizes |= {"image_size": 32, "patch_size": 8}
    config = transformers.ViTConfig(**sizes)
    network, example = transformers.ViTForImageClassification(config).eval(), torch.zeros(1, 3, 32, 32)
    smaller = remove_structures(network, example, {"*.attention.*": 0.5, "*fc1": 0.25})
    assert smaller.outputs["vit.layers.0.attention.q_proj"] == (16, 32)
    assert smaller.outputs["vit.layers.1.mlp.fc1"] == (16, 64)
    assert "layer norm" in smaller.left["vit.layers.0.attention.o_proj"]
    check(network, smaller, example)
    check_compiles(smaller, example)


class Branches(nn.Module):
    """Concatenation, gates of channels, groups, an unknown operator and a recurrent layer."""

    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 8, 1), nn.Conv2d(3, 6, 1)
        self.gate = nn.Linear(14, 14)
        self.grouped = nn.Conv2d(14, 14, 1, groups=7)
        self.summed = nn.Conv2d(3, 8, 1)
        self.cut = nn.Conv2d(3, 8, 1)
        self.inner, self.outer = nn.Linear(14, 10), nn.Linear(10, 4)
        self.recurrent = nn.GRU(4, 4, batch_first=True)

    def forward(self, images):
        joined = torch.cat([self.left(images), self.right(images)], 1)
        gated = joined * torch.sigmoid(self.gate(joined.mean((2, 3))))[:, :, None, None]
        features = self.inner(gated.mean((2, 3)))
        rest = self.grouped(gated), self.summed(images).cumsum(1), self.cut(images)[:, :4]
        extra = sum(part.mean((1, 2, 3)) for part in rest)
        return self.recurrent(self.outer(F.relu(features))[:, None])[0] + extra[:, None, None]


@pytest.mark.parametrize("kind", ["GPT2", "Llama"])
def test_a_decoder_with_a_cache_loses_hidden_units(kind):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    if kind == "GPT2":
        tokens = {"vocab_size": 50, "bos_token_id": 0, "eos_token_id": 0}
        config = transformers.GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=16, **tokens)
        network, layer = transformers.GPT2Model(config).eval(), "h.0.mlp.c_fc"
    else:
        config = transformers.LlamaConfig(
            hidden_size=32, num_hidden_layers=2, num_attention_heads=4, vocab_size=50, intermediate_size=128
        )
        network, layer = transformers.LlamaModel(config).eval(), "layers.0.mlp.up_proj"
    smaller = remove_structures(network, (torch.randint(50, (1, 6)),), {"*mlp*": 0.5})
    assert smaller.outputs[layer] == (64, 128)
    tokens = torch.randint(50, (2, 7))
    with torch.no_grad():
        found, expected = (each(tokens).last_hidden_state for each in (smaller.network, smaller.masked))
    assert torch.allclose(found, expected, atol=1e-5)


def test_heads_whose_keys_go_into_a_cache_stay_and_the_reason_says_what_frees_them():
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 48}
    config = transformers.LlamaConfig(vocab_size=50, num_key_value_heads=2, **sizes)
    example, shares = (torch.randint(50, (1, 6)),), {"*.self_attn.*": 0.5}
    with pytest.raises(
        SpokeshaveError, match=r"keys or values of a cache; a network that gives none .use_cache"
    ):
        remove_structures(transformers.LlamaModel(config).eval(), example, shares)
    config.use_cache = False
    smaller = remove_structures(transformers.LlamaModel(config).eval(), example, shares)
    assert smaller.outputs["layers.0.self_attn.k_proj"] == (8, 16)


def test_branches_and_what_has_to_stay():
    network, example = Branches().eval(), torch.zeros(1, 3, 4, 4)
    smaller = remove_structures(network, example, 0.5)
    check(network, smaller, example)
    assert set(smaller.left) == {"left", "right", "gate", "grouped", "summed", "cut", "recurrent"}
    assert "a convolution in groups" in smaller.left["left"]
    assert "cumsum" in smaller.left["summed"]
    assert "fixed place" in smaller.left["cut"]
    assert (smaller.outputs["inner"], smaller.outputs["outer"]) == ((5, 10), (2, 4))
    free = Branches().eval()
    free.grouped = nn.Conv2d(14, 3, 1)
    smaller = remove_structures(free, example, {"left": 0.5, "right": 0.5, "gate": 0.5})
    check(free, smaller, example)
    assert smaller.outputs["gate"][0] == smaller.outputs["left"][0] + smaller.outputs["right"][0] == 7


def test_tied_weights_shrink_once():
    network = nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8), nn.Linear(8, 2))
    network[3].weight = network[1].weight
    smaller = remove_structures(network, torch.zeros(1, 6), 0.5)
    check(network, smaller, torch.zeros(1, 6))
    assert smaller.network[3].weight is smaller.network[1].weight
    assert smaller.network[1].weight.shape == (4, 4)


def test_a_budget_out_of_reach_names_the_nearest():
    network = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 64))
    with pytest.raises(SpokeshaveError, match=r"1% of the multiply-adds cannot be reached: .* 25\.0% remain"):
        remove_structures(network, torch.zeros(1, 8), MultiplyAdds(0.01))
    with pytest.raises(SpokeshaveError, match=r"^0\.1% of the multiply-adds cannot be reached"):
        remove_structures(network, torch.zeros(1, 8), MultiplyAdds(0.001))
    with pytest.raises(SpokeshaveError, match=r"remaining must be between 0 and 1, not '0\.5'"):
        MultiplyAdds("0.5")
    with pytest.raises(SpokeshaveError, match="remaining must be between 0 and 1, not 2"):
        MultiplyAdds(2)


def test_wrong_requests_get_a_sentence():
    network = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))
    example = torch.zeros(1, 6)
    with pytest.raises(SpokeshaveError, match="'absent' names no layer"):
        remove_structures(network, example, {"absent": 0.5})
    with pytest.raises(SpokeshaveError, match=r"must be a number in \(0, 1\], not 0"):
        remove_structures(network, example, 0)
    with pytest.raises(SpokeshaveError, match=r"must be a number in \(0, 1\], not '0\.5'"):
        remove_structures(network, example, {"*": "0.5"})
    with pytest.raises(SpokeshaveError, match=r"shares are a number, .*, not \['0'\]"):
        remove_structures(network, example, ["0"])
    with pytest.raises(SpokeshaveError, match=r"remove_structures needs a network, .*, not None"):
        remove_structures(None, example, 0.5)
    with pytest.raises(SpokeshaveError, match=r"nothing can be taken out .*the network's outputs"):
        remove_structures(network, example, {"2": 0.5})
    with pytest.raises(SpokeshaveError, match="all shares are 1"):
        remove_structures(network, example, 1.0)
    smaller = remove_structures(network, example, 0.001)
    assert smaller.network[0].out_features == 1
    for layer in (network[0], network[2]):
        nn.init.zeros_(layer.weight)
    with pytest.raises(SpokeshaveError, match="read the outputs of 0 are zeros"):
        remove_structures(network, example, 0.5)


def test_what_flows_in_chooses_channels_beside_tokens_that_no_layer_makes():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.position = nn.Parameter(torch.randn(1, 3, 8))
            self.embed, self.inner, self.out = nn.Linear(5, 8), nn.Linear(8, 8), nn.Linear(8, 2)

        def forward(self, tokens):
            return self.out(torch.relu(self.inner(self.embed(tokens) + self.position)))

    network, example = Tokens(), torch.randn(1, 3, 5)
    smaller = remove_structures(network, example, 0.5, InputNorm(), [example])
    check(network, smaller, example)
    assert smaller.network.position.shape == (1, 3, 4)


class Upsampled(nn.Module):
    """A transposed convolution in groups, which is left as it is, between layers that shrink or stay."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3)
        self.up = nn.ConvTranspose2d(16, 8, 3, groups=2)
        self.last = nn.Conv2d(8, 4, 3)
        self.head = nn.Linear(4, 2)

    def forward(self, images):
        return self.head(self.last(self.up(self.first(images)).relu()).mean((2, 3)))


def test_a_transposed_convolution_stays_as_it_is():
    torch.manual_seed(0)
    network = Upsampled().eval()
    found = remove_structures(network, torch.zeros(1, 3, 8, 8), {"last": 0.5})
    assert found.outputs["last"] == (2, 4)
    assert found.network.up.groups == 2
    assert (found.network.up.in_channels, found.network.up.out_channels) == (16, 8)
