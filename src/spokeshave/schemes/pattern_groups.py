"""3x3 kernels ordered by pattern, so that no weight has an index of its own."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from spokeshave.schemes.packed import index_type


def by_filters(kernels: Tensor, sharing: int) -> Tensor:
    """Kernels `[filters, channels, 9]` in groups of filters, `[groups, sharing, channels, 9]`; zeros fill the last."""
    padded = F.pad(kernels, (0, 0, 0, 0, 0, -len(kernels) % sharing))
    return padded.view(-1, sharing, *kernels.shape[1:])


@dataclass(frozen=True)
class PatternGroups:
    """For each group of filters its kernels, those of the first pattern first, and then by channel.

    `cells`: `[patterns, entries]`, the positions 0 ... 8 that each pattern keeps; `counts`: `[groups, patterns]`,
    kernels of each pattern; `channels`: `[kernels]`, their input channels; `values`: kernel by kernel the entries of
    each filter of the group, `[kernels, filters, entries]` flattened, for the last group has fewer filters where
    `filters_sharing` does not divide them. (PatDNN's FKW storage, arXiv 2001.00138, with groups in place of filters.)
    """

    shape: tuple[int, ...]
    filters_sharing: int
    cells: Tensor
    counts: Tensor
    channels: Tensor
    values: Tensor

    @classmethod
    def of(cls, weight: Tensor, masks: Tensor, sharing: int) -> "PatternGroups":
        """Store a weight of the set; `masks` is bool `[patterns, 9]`, with equally many cells each."""
        kernels = weight.detach().cpu().reshape(*weight.shape[:2], 9)
        pattern = pattern_numbers(by_filters(kernels != 0, sharing).any(1), masks)
        groups, channels = (pattern >= 0).nonzero(as_tuple=True)
        order = (groups * len(masks) + pattern[groups, channels]).argsort(stable=True)
        groups, channels = groups[order], channels[order]
        counts = torch.stack([(pattern == number).sum(1) for number in range(len(masks))], dim=1)
        cells = masks.nonzero()[:, 1].view(len(masks), -1)
        grouped = by_filters(kernels, sharing)[groups, :, channels]
        kept = grouped.gather(2, cells[pattern[groups, channels]][:, None].expand(-1, sharing, -1))
        real = groups[:, None] * sharing + torch.arange(sharing) < len(kernels)
        return cls(
            tuple(weight.shape),
            sharing,
            cells.to(torch.uint8),
            counts.to(index_type(kernels.shape[1])),
            channels.to(index_type(kernels.shape[1] - 1)),
            kept[real].flatten(),
        )

    @property
    def nbytes(self) -> int:
        """Bytes of values, channels, counts and of the dictionary."""
        return self.values.nbytes + self.channels.nbytes + self.counts.nbytes + self.cells.nbytes

    def unpack(self) -> Tensor:
        """The weight, as it was packed."""
        kernels = self.values.new_zeros(*self.shape[:2], 9)
        groups, patterns = self.counts.shape
        group = torch.arange(groups).repeat_interleave(self.counts.long().sum(1))
        pattern = torch.arange(patterns).repeat(groups).repeat_interleave(self.counts.flatten().long())
        for kernel, filters, values in self._spans(group):
            rows = group[kernel][:, None] * self.filters_sharing + torch.arange(filters)
            channels = self.channels[kernel].long()[:, None, None]
            kernels[rows[..., None], channels, self.cells.long()[pattern[kernel]][:, None]] = values
        return kernels.view(self.shape)

    def _spans(self, group: Tensor) -> Iterator[tuple[slice, int, Tensor]]:
        """Full groups and the last one: which kernels, how many filters, values `[kernels, filters, entries]`."""
        entries = self.cells.shape[1]
        full = int((group < self.shape[0] // self.filters_sharing).sum())
        border = full * self.filters_sharing * entries
        yield (
            slice(0, full),
            self.filters_sharing,
            self.values[:border].view(full, self.filters_sharing, entries),
        )
        if full < len(group):
            filters = self.shape[0] % self.filters_sharing
            yield slice(full, None), filters, self.values[border:].view(-1, filters, entries)


def pattern_numbers(used: Tensor, masks: Tensor) -> Tensor:
    """The first pattern that holds all used cells of `[..., 9]`; -1 where none is used, `patterns` where none fits."""
    outside = used.float() @ (~masks).float().T.to(used.device)
    number = torch.where((outside == 0).any(-1), (outside == 0).int().argmax(-1), len(masks))
    return torch.where(used.any(-1), number, -1)
