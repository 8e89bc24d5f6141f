"""Calibration text as sequences of token numbers."""

from pathlib import Path

import torch
from torch import Tensor

from spokeshave.errors import SpokeshaveError, check_kind
from spokeshave.streaming.settings import ExpertPruning


def sequences_of(ids: Tensor, length: int, count: int) -> Tensor:
    """Up to `count` sequences of `length` tokens from a text of tokens `[n]`, evenly spread over it.

    >>> sequences_of(torch.arange(10), length=2, count=3)
    tensor([[0, 1],
            [4, 5],
            [8, 9]])
    """
    whole = len(ids) // length
    if not whole:
        raise SpokeshaveError(
            f"the calibration text has {len(ids)} tokens, fewer than one sequence of {length}"
        )
    chosen = torch.linspace(0, whole - 1, min(count, whole)).round().long()
    return ids[: whole * length].view(whole, length)[chosen]


def tokenized(text: str, folder: Path) -> Tensor:
    """Token numbers `[n]` of a text by the tokenizer of a checkpoint; raises SpokeshaveError where there is none."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except Exception as error:  # transformers raises errors of many kinds here
        raise SpokeshaveError(
            f"{folder} has no tokenizer that can be loaded; give token numbers as .npy or .safetensors instead of text"
        ) from error
    return torch.tensor(tokenizer(text, verbose=False)["input_ids"], dtype=torch.int64)


def check_tokens(tokens: Tensor | None, vocabulary: int, settings: ExpertPruning) -> Tensor | None:
    """The tokens as int64, None for a criterion that looks at weights alone; raises SpokeshaveError for wrong ones."""
    if tokens is not None:
        check_kind("tokens", tokens, Tensor, "a tensor [sequences, length] of whole numbers")
    if not settings.needs_tokens:
        return None
    if tokens is None:
        raise SpokeshaveError(f"the criterion {settings.criterion} needs calibration tokens")
    whole = not (tokens.is_floating_point() or tokens.is_complex() or tokens.dtype == torch.bool)
    dense = tokens.layout is torch.strided and not tokens.is_meta
    if tokens.dim() != 2 or not tokens.numel() or not whole or not dense:
        raise SpokeshaveError(
            f"calibration tokens of shape {tuple(tokens.shape)}, type {tokens.dtype} and layout {tokens.layout} on "
            f"{tokens.device} were given; whole numbers [sequences, length] in a dense tensor are needed"
        )
    tokens = tokens.cpu().long().contiguous()
    least, most = int(tokens.min()), int(tokens.max())
    if least < 0 or most >= vocabulary:
        raise SpokeshaveError(
            f"calibration tokens are from {least} to {most}; the checkpoint's vocabulary is from 0 to {vocabulary - 1}"
        )
    return tokens
