"""Prune inside a training loop of your own: `python examples/own_loop.py`."""

import torch
import torch.nn.functional as F

from spokeshave.data import digits
from spokeshave.methods import ADMM, MaskedFineTuning, begin, train
from spokeshave.networks import digits_network
from spokeshave.plan import Plan

data, network = digits(), digits_network()
train(network, data, epochs=4, learning_rate=0.1)
plan = Plan.for_compression(network, 8)

session = begin(ADMM(rho=0.1, rho_growth=1.6, rho_limit=2.0), network, plan)
optimizer = torch.optim.SGD(network.parameters(), lr=0.02, momentum=0.9)
for epoch in range(6):
    for images, labels in data.train:
        loss = F.cross_entropy(network(images), labels) + session.penalty()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        session.after_step()
    session.after_epoch()
    print(f"epoch {epoch}: farthest from its scheme {max(session.residuals().values()):.2f}")
session.finish()

train(network, data, epochs=4, session=begin(MaskedFineTuning(), network, plan))
network.eval()
with torch.inference_mode():
    right = sum(int((network(images).argmax(1) == labels).sum()) for images, labels in data.held_out)
print(f"{100 * right / len(data.held_out.labels):.1f} % of the held-out digits")
