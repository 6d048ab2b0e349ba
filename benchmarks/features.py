"""feature_sum and feature_adjoint in ns a (point, frequency) pair, beside torch in chunks, in one process.

Torch takes the matrix product of a chunk of points with all frequencies, then its cosine and sine; the best of three
chunk sizes counts. Both are checked against float64 before they are timed.
"""

import numpy as np
import torch
from timing import in_turn, machine

import fastcl

SIZES = {2: (20_000, 2_000), 8: (20_000, 2_000), 16: (20_000, 2_000), 64: (10_000, 2_000)}
CHUNKS = (256, 1024, 4096)


def torch_sum(x, omega, weights, chunk):
    total = torch.zeros(len(omega), dtype=torch.complex64)
    for start in range(0, len(x), chunk):
        phases = x[start : start + chunk] @ omega.T
        w = weights[start : start + chunk]
        total += torch.complex(w @ torch.cos(phases), -(w @ torch.sin(phases)))
    return total


def torch_adjoint(x, omega, c, chunk):
    parts = []
    for start in range(0, len(x), chunk):
        phases = x[start : start + chunk] @ omega.T
        parts.append(torch.cos(phases) @ c.real - torch.sin(phases) @ c.imag)
    return torch.cat(parts)


def main():
    print(machine(), f"torch {torch.__version__} on {torch.get_num_threads()} threads", sep="; ")
    print(f"{'map':10}{'d':>4}{'fastcl ns':>11}{'torch ns':>10}{'ratio':>7}{'error':>10}{'torch error':>13}")
    rng = np.random.default_rng(0)
    for dim, (n, m) in SIZES.items():
        x = (rng.standard_normal((n, dim)) / np.sqrt(dim)).astype(np.float32)
        omega = 3 * rng.standard_normal((m, dim))
        weights = rng.random(n).astype(np.float32)
        c = (rng.standard_normal(m) + 1j * rng.standard_normal(m)).astype(np.complex64)
        x64 = x.astype(np.float64)
        tx, tomega, tweights, tc = map(torch.tensor, (x, omega.astype(np.float32), weights, c))
        tc = torch.complex(tc.real.contiguous(), tc.imag.contiguous())
        maps = {
            "sum": (
                lambda: fastcl.feature_sum(x, omega, weights),  # noqa: B023  (called before the loop goes on)
                lambda chunk: torch_sum(tx, tomega, tweights, chunk),  # noqa: B023
                fastcl.feature_sum(x64, omega, weights.astype(np.float64)),
                weights.sum(),
            ),
            "adjoint": (
                lambda: fastcl.feature_adjoint(x, omega, c),  # noqa: B023
                lambda chunk: torch_adjoint(tx, tomega, tc, chunk),  # noqa: B023
                fastcl.feature_adjoint(x64, omega, c),
                np.abs(c).sum(),
            ),
        }
        for name, (ours, theirs, exact, scale) in maps.items():
            error = np.abs(ours() - exact).max() / scale
            torch_error = np.abs(theirs(CHUNKS[0]).numpy() - exact).max() / scale
            assert error < 2e-6, error
            assert torch_error < 2e-6, torch_error
            rivals = {chunk: (lambda chunk=chunk, theirs=theirs: theirs(chunk)) for chunk in CHUNKS}
            times = in_turn({"fastcl": ours} | rivals)
            own, best = times["fastcl"], min(times[chunk] for chunk in CHUNKS)
            scale_ns = 1e9 / (n * m)
            print(
                f"{name:10}{dim:>4}{own * scale_ns:>11.3f}{best * scale_ns:>10.2f}"
                f"{best / own:>7.1f}{error:>10.1e}{torch_error:>13.1e}"
            )


if __name__ == "__main__":
    main()
