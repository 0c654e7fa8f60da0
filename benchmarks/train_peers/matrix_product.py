"""Not a net: the operations a second of large bfloat16 matrix products, the most that this machine reaches."""

import torch
from benchmarks.train_peers import pace

SIZE, REPEATS = 4096, 5

a, b = torch.rand(2, SIZE, SIZE).bfloat16()
product = torch.mm(a, b)
paced = pace.Pace(REPEATS * 2 * SIZE**3)
while True:
    paced.begin()
    for _ in range(REPEATS):
        torch.mm(a, b, out=product)
    paced.end()
