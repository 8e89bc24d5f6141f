"""The 3-bit DeiT-tiny of the shared data as a graph in whole numbers, its arithmetic as its authors' files have it."""

import torch

from spokeshave.compiler.graph import Graph, Node, Value
from spokeshave.compiler.operations import (
    Concatenate,
    Constant,
    Linear,
    Lookup,
    Permute,
    Quantization,
    Quantized,
    QuantizedMatMul,
    QuantizedNorm,
    QuantizedSoftmax,
    QuantizedSum,
    Rescale,
    Reshape,
    Slice,
)
from spokeshave.compiler.operations.transformers import Divided
from spokeshave.compiler.verify import verify

TOKENS, WIDTH, HEADS = 196, 192, 3


def whole(bits, signed=True):
    return (
        Quantization(1.0, 0, -(1 << bits - 1), (1 << bits - 1) - 1)
        if signed
        else Quantization(1.0, 0, 0, (1 << bits) - 1)
    )


IMAGE = whole(8)


class Builder:
    """Nodes one behind the other; every method gives the name and the levels of what it made."""

    def __init__(self, raw):
        self.raw = raw
        self.nodes, self.values, self.weights = [], {}, {}

    def ints(self, name):
        return [int(number) for number in self.raw[name]]

    def weight(self, name, tensor=None):
        self.weights[name] = torch.from_numpy(self.raw[name]) if tensor is None else tensor
        return name

    def made(self, layer, operation, inputs, shape, grid):
        name = f"v{len(self.nodes)}"
        self.values[name] = Value(name, shape, grid.dtype)
        self.nodes.append(Node(layer, operation, tuple(name for name, _ in inputs), (name,)))
        return name, grid

    def shape(self, x):
        return self.values[x[0]].shape

    def linear(self, x, name, bias=True):
        """Sums with their bias."""
        rows = len(self.raw[name + ".weight"])
        biases = torch.from_numpy(self.raw[name + ".bias"]).long() if bias else torch.zeros(rows).long()
        parts = {"multiplier": torch.ones(rows).long(), "shift": torch.zeros(rows).long(), "bias": biases}
        names = [self.weight(f"{name} {part}", tensor) for part, tensor in parts.items()]
        layer = Linear(self.weight(name + ".weight"), None)
        scale = self.weight(f"{name} scale", torch.ones(rows))
        grid = self.reach(self.weights[name + ".weight"].long(), x[1], biases)
        operation = Quantized(layer, scale, x[1], None, grid, Rescale(*names))
        return self.made(name, operation, [x], (*self.shape(x)[:-1], rows), grid)

    def reach(self, weight, of, bias):
        """Levels that hold every sum of a layer."""
        ends = torch.stack((weight * of.low, weight * of.high))
        low, high = ends.amin(0).sum(1) + bias, ends.amax(0).sum(1) + bias
        return Quantization(1.0, 0, int(low.min()), int(high.max()))

    def table(self, x, name):
        start, shift, last = self.ints(name + ".scalars")
        levels = torch.from_numpy(self.raw[name + ".table"])
        assert last == len(levels) - 1
        grid = Quantization(1.0, 0, int(levels.min()), int(levels.max()))
        operation = Lookup(self.weight(name + ".table"), start, shift, grid)
        return self.made(name, operation, [x], self.shape(x), grid)

    def norm(self, x, name):
        multiplier, mean_shift, start, shift, last, out_shift, bits = self.ints(name + ".scalars")
        assert last == len(self.raw[name + ".rsqrt"]) - 1
        inverse = Divided(self.weight(name + ".rsqrt"), start, shift)
        names = [self.weight(name + ".gamma"), self.weight(name + ".beta")]
        operation = QuantizedNorm(x[1], whole(bits), multiplier, mean_shift, inverse, *names, out_shift)
        return self.made(name, operation, [x], self.shape(x), whole(bits))

    def softmax(self, x, name):
        b1, s1, _, b2, s2, _, b3, s3, c2, d2, _, c3, d3, bits = self.ints(name + ".scalars")
        assert (b3, c3) == (1 << s3 - 1, 1 << d3 - 1)
        tables = [
            Divided(self.weight(f"{name}.{table}"), b, s)
            for table, b, s in (("exp", b1, s1), ("recip1", b2, s2), ("recip2", c2, d2))
        ]
        operation = QuantizedSoftmax(x[1], whole(bits, False), tables[0], tables[1], s3, tables[2], d3)
        return self.made(name, operation, [x], self.shape(x), whole(bits, False))

    def add(self, x, more, name):
        """`more + (x * multiplier + half >> shift)`."""
        multiplier, shift = self.ints(name + ".residual")
        return self.total(name, [x, more], (multiplier, 1 << shift), shift)

    def total(self, layer, terms, multipliers, shift):
        """A sum, and levels that hold it."""
        half = 1 << shift - 1 if shift else 0
        low, high = (
            sum(factor * getattr(of, end) for factor, (_, of) in zip(multipliers, terms, strict=True)) + half
            >> shift
            for end in ("low", "high")
        )
        grid = Quantization(1.0, 0, low, high)
        operation = QuantizedSum(tuple(of for _, of in terms), multipliers, grid, shift)
        return self.made(layer, operation, terms, self.shape(terms[0]), grid)

    def product(self, layer, a, b):
        shape = (*self.shape(a)[:-1], self.shape(b)[-1])
        most = self.shape(a)[-1] * max(-a[1].low, a[1].high) * max(-b[1].low, b[1].high)
        grid = Quantization(1.0, 0, -most, most)
        return self.made(layer, QuantizedMatMul(a[1], b[1], grid), [a, b], shape, grid)

    def heads(self, x, turned=False):
        parts = self.made("", Reshape(), [x], (1, TOKENS, HEADS, WIDTH // HEADS), x[1])
        axes = (0, 2, 3, 1) if turned else (0, 2, 1, 3)
        return self.made("", Permute(axes), [parts], tuple(self.shape(parts)[axis] for axis in axes), x[1])

    def attention(self, x, name):
        q, k, v = (self.table(self.linear(x, name + part), f"{name}{part}.quant") for part in "qkv")
        scores = self.product(name + "scores", self.heads(q), self.heads(k, turned=True))
        weighted = self.product(name + "values", self.softmax(scores, name + "softmax"), self.heads(v))
        together = self.made(
            "", Permute((0, 2, 1, 3)), [weighted], (1, TOKENS, HEADS, WIDTH // HEADS), weighted[1]
        )
        return self.made("", Reshape(), [together], (1, TOKENS, WIDTH), weighted[1])

    def embedding(self, x):
        """Patches with biases of their own places; the class token stands in the place of the first."""
        sums = self.linear(x, "patch", bias=False)
        placed = self.total("patch", [sums, self.constant("patch.bias", (1, TOKENS, WIDTH))], (1, 1), 0)
        rest = self.made("patch", Slice(1, 1, TOKENS, 1), [placed], (1, TOKENS - 1, WIDTH), placed[1])
        token = self.constant("patch.cls", (1, 1, WIDTH))
        joined = self.made("patch", Concatenate(1), [token, rest], (1, TOKENS, WIDTH), placed[1])
        return self.total("patch", [joined], (1,), self.ints("patch.shift")[0])

    def constant(self, name, shape):
        tensor = torch.from_numpy(self.raw[name]).int()
        grid = Quantization(1.0, 0, int(tensor.min()), int(tensor.max()))
        tensor = tensor.to(getattr(torch, grid.dtype))
        return self.made(name, Constant(self.weight(name, tensor)), [], shape, grid)


def deit_graph(raw):
    """`[N, 196, 768]` int8 to `[N, 1, 1000]` int32."""
    builder = Builder(raw)
    builder.values["x"] = Value("x", (1, TOKENS, 768), "int8")
    x = builder.embedding(("x", IMAGE))
    for index in range(12):
        name = f"blocks.{index}."
        attended = builder.attention(builder.norm(x, name + "ln1"), name)
        x = builder.add(
            x, builder.linear(builder.table(attended, name + "a.quant"), name + "o"), name + "attn"
        )
        inner = builder.table(builder.linear(builder.norm(x, name + "ln2"), name + "fc1"), name + "gelu")
        x = builder.add(x, builder.linear(inner, name + "fc2"), name + "mlp")
    first = builder.made("head", Slice(1, 0, 1, 1), [x], (1, 1, WIDTH), x[1])
    logits = builder.linear(builder.norm(first, "head.ln"), "head")
    return verify(Graph(("x",), (logits[0],), builder.values, tuple(builder.nodes), builder.weights))
