"""Numbers of few bits, one behind the other.

Number i of `bits` bits lies in bits `i * bits ... (i + 1) * bits - 1` of the stream, its least significant bit first;
bit b of the stream is bit `b % 8` of byte `b // 8`. So two-bit numbers 1, 2, 3, 0 are the byte `0b00_11_10_01`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def pack_bits(numbers: Tensor, bits: int) -> Tensor:
    """The stream of numbers from 0 up to 2 ** bits - 1, as `uint8`; without bits it is empty.

    >>> pack_bits(torch.tensor([1, 2, 3, 0]), bits=2)
    tensor([57], dtype=torch.uint8)
    """
    stream = (numbers.flatten().int()[:, None] >> torch.arange(bits, dtype=torch.int32)) & 1
    by_byte = F.pad(stream.flatten(), (0, -stream.numel() % 8)).view(-1, 8)
    return (by_byte << torch.arange(8, dtype=torch.int32)).sum(1).to(torch.uint8)


def unpack_bits(stream: Tensor, bits: int, count: int) -> Tensor:
    """The first `count` numbers of a stream.

    >>> unpack_bits(torch.tensor([57], dtype=torch.uint8), bits=2, count=4)
    tensor([1, 2, 3, 0])
    """
    flat = ((stream.long()[:, None] >> torch.arange(8)) & 1).flatten()[: count * bits].view(count, bits)
    return (flat << torch.arange(bits)).sum(1)


def bits_for(count: int) -> int:
    """Bits that tell `count` things apart.

    >>> [bits_for(count) for count in (1, 2, 3, 4, 5)]
    [0, 1, 2, 2, 3]
    """
    return (count - 1).bit_length()
