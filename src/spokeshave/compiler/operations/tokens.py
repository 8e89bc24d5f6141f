"""Operations on tokens: attention, rows of tables, routing, selection."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Attention:
    """softmax(query @ key.T * scale + mask) @ value, head by head, on tokens `[1, T, heads * size]`.

    Inputs are query, key, value and, unless `mask` names a constant, perhaps a mask: numbers to add to the scores, of
    a shape that broadcasts to `[windows, heads, queries, keys]` of one window. Tokens come in `windows` runs of equal
    length that do not see each other; `key_heads` heads of keys and values serve `heads` of queries, neighbours
    together. With `causal`, a query sees the keys up to its own, counted from the last of each. A query that sees
    nothing gives zeros. With `half`, both products are of bfloat16 numbers, summed in float32. With `polynomial` the
    softmax is that of `spokeshave.polynomials`, whose rows add up to this number.
    """

    heads: int
    key_heads: int
    scale: float
    windows: int = 1
    causal: bool = False
    mask: str | None = None
    half: bool = False
    polynomial: float | None = None


@dataclass(frozen=True)
class Embedding:
    """Rows of a table by number: `[1, T]` int64 to `[1, T, width]`; others than the table's are refused at run time."""

    weight: str


@dataclass(frozen=True)
class TopK:
    """The `count` largest channels of each token of `[1, T, C]`, the largest first: values and channel numbers.

    Both outputs are `[1, T, count]` in float32; of equal values the one with the smaller number comes first.
    """

    count: int


@dataclass(frozen=True)
class SelectTokens:
    """The tokens that stay, as `spokeshave.token_selection` says, and how many these are.

    Tokens `[1, T, C]` and scores `[1, T - leading]` to `[1, K, C]` and `[1, 1]`. Where no `count` is given, K is found
    when the network runs: it is the length of number `length`.
    """

    name: str
    threshold: float
    count: int | None
    leading: int
    packages: int
    rest: str
    length: int | None

    @property
    def least(self) -> int:
        """How many tokens are always left: class tokens and packages, or one.

        >>> SelectTokens("first", 0.5, None, 2, 1, "package", 0).least
        4
        """
        return max(1, self.leading + self.packages * (self.rest != "merge") + (self.rest != "drop"))
