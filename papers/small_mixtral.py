"""A small Mixtral trained on the Brown corpus, to prune: 4 layers of 128, 8 experts of 256, two for each token."""

import lzma
import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoTokenizer, MixtralConfig, MixtralForCausalLM, PreTrainedTokenizerFast

from spokeshave.locate import data_folder

LENGTH = 128  # tokens of a sequence
BATCH = 16
VOCABULARY = 2048
SIZES: dict[str, Any] = {
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_local_experts": 8,
    "max_position_embeddings": LENGTH,
}
BALANCE = 0.01  # weight of the router's balance loss; without it some experts are asked far more than others


@dataclass(frozen=True)
class Training:
    """How the dense network is trained; the default takes about three minutes on a quiet core."""

    steps: int = 600
    learning_rate: float = 2e-3
    seed: int = 0
    balance: float = BALANCE


def text(name: str) -> str:
    """A text of shared/data/text."""
    return lzma.open(data_folder("text") / f"{name}.txt.xz", "rt", encoding="utf-8").read()


def make_tokenizer(corpus: str) -> PreTrainedTokenizerFast:
    """Byte pairs learned from the training text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(corpus.splitlines(keepends=True), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def sequences(tokenizer: PreTrainedTokenizerFast, corpus: str) -> Tensor:
    """All whole sequences `[n, LENGTH]` of a text."""
    ids = torch.tensor(tokenizer(corpus, verbose=False)["input_ids"])
    return ids[: len(ids) // LENGTH * LENGTH].view(-1, LENGTH)


def batches(tokens: Tensor, steps: int, seed: int) -> Iterator[Tensor]:
    """Random batches `[BATCH, LENGTH]`."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        yield tokens[torch.randint(len(tokens), (BATCH,), generator=generator)]


def dense_checkpoint(folder: Path, training: Training) -> Path:
    """The folder of the trained network and its tokenizer; trained where it is not there yet."""
    if not (folder / "config.json").exists():
        corpus = text("brown")
        tokenizer = make_tokenizer(corpus)
        network = train_network(sequences(tokenizer, corpus), training)
        unfinished = folder.with_name(f".{folder.name}")
        tokenizer.save_pretrained(unfinished)
        network.save_pretrained(unfinished)
        shutil.rmtree(folder, ignore_errors=True)
        unfinished.rename(folder)
    return folder


def train_network(tokens: Tensor, training: Training) -> MixtralForCausalLM:
    """Next-token training, AdamW, and a short rise and cosine fall of the learning rate."""
    torch.manual_seed(training.seed)
    settings = SIZES | {"router_aux_loss_coef": training.balance}
    config = MixtralConfig(vocab_size=VOCABULARY, **settings, pad_token_id=None)
    network = MixtralForCausalLM(config).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=training.learning_rate, weight_decay=0.1)
    for step, batch in enumerate(batches(tokens, training.steps, training.seed)):
        share = (step + 1) / training.steps
        rate = min(1.0, 20 * share) * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * share)))
        optimizer.param_groups[0]["lr"] = training.learning_rate * rate
        loss = network(batch, labels=batch, output_router_logits=True).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        if step % 100 == 0:
            print(
                f"seed {training.seed}: step {step} of {training.steps}, loss {loss.item():.3f}", flush=True
            )
    return network


def load(folder: Path) -> tuple[MixtralForCausalLM, Any]:
    """A checkpoint's network, in evaluation mode, and the tokenizer beside it."""
    return MixtralForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)


@torch.inference_mode()
def perplexity(network: MixtralForCausalLM, tokens: Tensor) -> float:
    """Exponential of the mean next-token loss over sequences `[n, LENGTH]`, per token of this vocabulary."""
    network.eval()
    losses = [float(network(batch, labels=batch).loss) * len(batch) for batch in tokens.split(BATCH)]
    return math.exp(sum(losses) / len(tokens))
