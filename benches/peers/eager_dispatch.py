"""Times the operations of benches/eager.rs in torch, on one thread: a line `name: N ns` each.

The fastest of many short rounds, as the benchmark itself takes. Needs torch; ends with status 3 where it is not installed.
"""

import sys
import time

try:
    import torch
except ImportError:
    sys.exit(3)

torch.set_num_threads(1)


def measure(name, f):
    """Prints the time of one call, in the fastest of many rounds."""
    f()
    count = 1
    while True:
        start = time.perf_counter_ns()
        for _ in range(count):
            f()
        took = time.perf_counter_ns() - start
        if took > 200_000:
            break
        count *= 2
    best = took / count
    for _ in range(500):
        start = time.perf_counter_ns()
        for _ in range(count):
            f()
        best = min(best, (time.perf_counter_ns() - start) / count)
    print(f"{name}: {best:.0f} ns")


def main():
    small = torch.ones(4)
    rows = torch.ones(4, 4)
    thousand = torch.ones(1000)
    square = torch.ones(64, 64)
    batch = torch.ones(32, 100)
    with torch.inference_mode():
        measure("add [4] f32", lambda: small + small)
        measure("add [4, 4] + [4] f32", lambda: rows + small)
        measure("scale [4] f32", lambda: small * 0.5)
        measure("add [1000] f32", lambda: thousand + thousand)
        measure("exp [1000] f32", lambda: torch.exp(thousand))
        measure("sum [1000] f32", lambda: thousand.sum())
        measure("softmax [32, 100] f32", lambda: torch.softmax(batch, -1))
        measure("layer_norm [32, 100] f32", lambda: torch.nn.functional.layer_norm(batch, (100,)))
        measure("matmul [64, 64] f32", lambda: square @ square)
        measure("transpose [64, 64] f32", lambda: square.t())


main()
