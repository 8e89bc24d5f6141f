"""What every process of test_processes.py runs: `python distributed.py RANK PROCESSES STORE OUTPUT`."""

import sys

import torch
import torch.distributed as distributed
from safetensors.torch import save_file

from spokeshave.samples import ExamplePruning, ExampleSampler

EXAMPLES, EPOCHS = 60, 4


def main() -> None:
    rank, processes, store, output = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
    distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=processes)
    pruning = ExamplePruning(0.8, 0.2, every=1, last=3, score="loss")
    sampler = ExampleSampler(EXAMPLES, pruning, EPOCHS, share=(rank, processes))
    difficulty = torch.randn(EXAMPLES, generator=torch.Generator().manual_seed(5))
    for _ in range(EPOCHS):
        numbers = torch.tensor(list(sampler))
        scores = torch.stack((torch.zeros(len(numbers)), difficulty[numbers]), 1)
        sampler.after_batch(numbers, scores, torch.zeros_like(numbers))
        sampler.after_epoch()
    save_file({"kept": sampler.kept, "used": torch.tensor(sampler.used)}, f"{output}-{rank}")
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
