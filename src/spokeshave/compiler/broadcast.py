"""How two values of different shapes meet in one element-wise operation."""

Shape = tuple[int, ...]


def per_channel(shape: Shape, other: Shape) -> bool:
    """Whether the other value has one number for each channel of a map `[1, C, H, W]`.

    >>> per_channel((1, 8, 5, 5), (1, 8, 1, 1)), per_channel((1, 8, 5, 5), (1, 1, 5, 5))
    (True, False)
    """
    return len(shape) == 4 and other == (1, shape[1], 1, 1)


def per_position(shape: Shape, other: Shape) -> bool:
    """Whether the other value has one number for each position of a map, or for each token `[1, T, C]`.

    >>> per_position((1, 7, 24), (1, 7, 1)), per_position((1, 8, 5, 5), (1, 1, 5, 5)), per_position((1, 7), (1, 1))
    (True, True, False)
    """
    one = {3: (*shape[:-1], 1), 4: (1, 1, *shape[2:])}.get(len(shape))
    positions = shape[1] if len(shape) == 3 else shape[-1] * shape[-2]
    return other == one and positions > 1


def meets(shape: Shape, other: Shape) -> bool:
    """Whether the other value needs no repetition to meet one of the result's shape."""
    return other == shape or per_channel(shape, other) or per_position(shape, other)
