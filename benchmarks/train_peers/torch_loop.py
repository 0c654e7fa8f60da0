"""A plain PyTorch loop."""

import torch
from benchmarks.train_peers import pace, torch_nets
from benchmarks.train_peers.nets import NETS
from torch import nn
from torch.utils.data import DataLoader

name, steps = pace.arguments()
samples = torch_nets.dataset(name, steps)
loader = DataLoader(samples, batch_size=NETS[name].batch_size, shuffle=True)
model = torch_nets.build(name)
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
paced = pace.Pace(len(samples))
model.train()
while True:
    paced.begin()
    total = 0.0
    for images, labels in loader:
        optimizer.zero_grad()
        loss = criterion(model(images), labels)
        loss.backward()
        optimizer.step()
        total += loss.item()
    paced.end(total / len(loader))
