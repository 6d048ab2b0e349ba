"""feature_sum and feature_adjoint against every rival, in float32: python benchmarks/rivals.py

Times are in ns per (point, frequency) pair. Every rival is first compared with fastcl in float64 at
the very size at which it is timed (largest error divided by the sum of |weights|); then all take
turns in one process, median of five. One whose call would take longer than --limit seconds gets
only the first points (marked *): its time per pair does not depend on their number. Just before and
after each block of one d the peak rate of the machine is measured. "Share" is the part of the
larger of the two rates that fastcl reaches, counting d + 15 multiply-adds per pair.

NumPy      exp(-1j * x @ omega.T), chunk by chunk, as one would first write it
torch      the matrix product of a chunk, then cosines and sines; the best of three chunk sizes
phases     the same for the adjoint by cosines alone, |c| cos(a + arg c), as fastcl computes it
pykeops    its own compiled loop; the first run of a formula in a dimension compiles it, in seconds
finufft    type 3, up to three dimensions, at its tolerance 1e-6: single or double precision,
           whichever is faster of those with an error below 1e-5; never on fewer points
sklearn    RBFSampler.transform in chunks, with its frequencies and phases set. It has only cosines:
           its sum is half of what the others do (marked h), its adjoint is whole, by phases
pycle      computeSketch of V. Schellekens' toolbox for compressive learning, from PyPI, with phases
           in float32. Its weights do not work (a name is undefined), so they are one (marked 1); it
           has no adjoint

All of them come with the extra "benchmark", and those that are missing are left out. pykeops and
pycle are under the MIT licence, finufft under Apache 2.0.
"""

import functools
from dataclasses import dataclass

from timing import in_turn, machine, seconds  # before NumPy

# isort: split
import numpy as np
from command import new_parser
from peak import multiply_adds_per_second

import fastcl

# name -> points, frequencies
SIZES = {"small": (4_000, 500), "middle": (100_000, 2_000), "large": (1_000_000, 10_000)}
QUICK = (1_000, 100)
DIMS = {
    "small": (1, 2, 3, 8, 16, 35, 64, 192),
    "middle": (1, 2, 3, 8, 16, 35, 64, 192),
    "large": (2, 3, 16),
}
CHUNKS = (256, 1024, 4096)  # points per chunk of torch
CHUNK = 1024  # points per chunk of NumPy and scikit-learn
PROBE = 500_000  # pairs of the call from which the time of a whole one is predicted
TURN = 0.02  # least seconds of a turn
# Of the error, in float32; rivals that add 4096 points before anything wider reach 2e-6.
TOLERANCE = 1e-5
TORCH_TARGETS = {2: 10, 8: 6, 16: 4.5, 64: 2.4, 192: 1.7}
NUMPY_TARGETS = {2: 200}
PEAK_TARGETS = {2: 0.80, 3: 0.80, 8: 0.80, 16: 0.80, 64: 0.75, 192: 0.75}


class NotRun(Exception):
    """The reason why a rival was not timed."""


@dataclass
class Problem:
    """What the maps are given."""

    x: np.ndarray  # (n, d) float32
    omega: np.ndarray  # (m, d) float64
    weights: np.ndarray  # (n,) float32
    c: np.ndarray  # (m,) complex64

    @classmethod
    def draw(cls, n, m, dim, std):
        rng = np.random.default_rng(0)
        x = (rng.standard_normal((n, dim)) / np.sqrt(dim)).astype(np.float32)
        c = (rng.standard_normal(m) + 1j * rng.standard_normal(m)).astype(np.complex64)
        return cls(x, std * rng.standard_normal((m, dim)), rng.random(n, np.float32), c)

    def first(self, n):
        return Problem(self.x[:n], self.omega, self.weights[:n], self.c)

    @property
    def omega32(self):
        return self.omega.astype(np.float32)


def chunks(n, size=CHUNK):
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


# ---- the rivals: each gives the function that computes one map of a problem, or raises NotRun ----


def of_fastcl(problem, name):
    x, omega, weights, c = problem.x, problem.omega, problem.weights, problem.c
    if name == "sum":
        return lambda: fastcl.feature_sum(x, omega, weights, method="direct")
    return lambda: fastcl.feature_adjoint(x, omega, c, method="direct")


def of_numpy(problem, name):
    x, omega, weights, c = problem.x, problem.omega32, problem.weights, problem.c
    if name == "sum":
        return lambda: sum(
            weights[rows] @ np.exp(-1j * (x[rows] @ omega.T)) for rows in chunks(len(x))
        )
    return lambda: np.concatenate(
        [(np.exp(1j * (x[rows] @ omega.T)) @ c).real for rows in chunks(len(x))]
    )


def of_torch(problem, name, chunk):
    import torch

    x, omega, weights = map(torch.tensor, (problem.x, problem.omega32, problem.weights))
    real, imag = torch.tensor(problem.c.real.copy()), torch.tensor(problem.c.imag.copy())

    def compute_sum():
        total = torch.zeros(2, len(omega))
        for rows in chunks(len(x), chunk):
            phases = x[rows] @ omega.T
            total[0] += weights[rows] @ torch.cos(phases)
            total[1] -= weights[rows] @ torch.sin(phases)
        return total[0].numpy() + 1j * total[1].numpy()

    def compute_adjoint():
        parts = []
        for rows in chunks(len(x), chunk):
            phases = x[rows] @ omega.T
            parts.append(torch.cos(phases) @ real - torch.sin(phases) @ imag)
        return torch.cat(parts).numpy()

    return compute_sum if name == "sum" else compute_adjoint


def of_phases(problem, name, chunk):
    import torch

    if name == "sum":
        raise NotRun("a formula for the adjoint only")
    x, omega = torch.tensor(problem.x), torch.tensor(problem.omega32)
    amplitudes, phase_offsets = torch.tensor(np.abs(problem.c)), torch.tensor(np.angle(problem.c))

    def compute_adjoint():
        parts = [
            torch.addmm(phase_offsets, x[rows], omega.T).cos_() @ amplitudes
            for rows in chunks(len(x), chunk)
        ]
        return torch.cat(parts).numpy()

    return compute_adjoint


def of_pykeops(problem, name):
    import pykeops

    pykeops.set_verbose(False)
    from pykeops.numpy import Genred

    dim = problem.x.shape[1]
    if name == "sum":
        names = [f"omega = Vi({dim})", f"x = Vj({dim})", "w = Vj(1)"]
        loop = Genred("ComplexExp1j(-(omega | x)) * w", names, reduction_op="Sum", axis=1)
        arrays = problem.omega32, problem.x, problem.weights[:, None]

        def compute_sum():
            parts = loop(*arrays, backend="CPU")
            return parts[:, 0] + 1j * parts[:, 1]

        return compute_sum
    names = [f"x = Vi({dim})", f"omega = Vj({dim})", "amplitude = Vj(1)", "offset = Vj(1)"]
    loop = Genred("amplitude * Cos((x | omega) + offset)", names, reduction_op="Sum", axis=1)
    arrays = problem.x, problem.omega32, np.abs(problem.c)[:, None], np.angle(problem.c)[:, None]
    return lambda: loop(*arrays, backend="CPU")[:, 0]


def of_finufft(problem, name, precision):
    import finufft

    dim = problem.x.shape[1]
    if dim > 3:
        raise NotRun("d > 3 is not supported")
    transform = {1: finufft.nufft1d3, 2: finufft.nufft2d3, 3: finufft.nufft3d3}[dim]
    real, kind = (
        (np.float32, np.complex64) if precision == "single" else (np.float64, np.complex128)
    )
    points, frequencies = [np.ascontiguousarray(a.T, real) for a in (problem.x, problem.omega)]
    strengths = (problem.weights if name == "sum" else problem.c).astype(kind)
    if name == "sum":
        return lambda: transform(*points, strengths, *frequencies, isign=-1, eps=1e-6)
    return lambda: transform(*frequencies, strengths, *points, isign=1, eps=1e-6).real


def of_sklearn(problem, name):
    from sklearn.kernel_approximation import RBFSampler

    x, weights, m = problem.x, problem.weights, len(problem.c)
    sampler = RBFSampler(n_components=m, random_state=0).fit(x[:2])
    sampler.random_weights_ = np.ascontiguousarray(problem.omega32.T)
    sampler.random_offset_ = np.zeros(m, np.float32) if name == "sum" else np.angle(problem.c)
    scale = np.float32(np.sqrt(m / 2))  # undoes the factor of the features
    if name == "sum":
        return lambda: (
            scale * sum(weights[rows] @ sampler.transform(x[rows]) for rows in chunks(len(x)))
        )
    amplitudes = scale * np.abs(problem.c)
    return lambda: np.concatenate(
        [sampler.transform(x[rows]) @ amplitudes for rows in chunks(len(x))]
    )


def of_pycle(problem, name):
    from pycle.sketching import SimpleFeatureMap, computeSketch

    if name == "adjoint":
        raise NotRun("it has no adjoint")
    features = SimpleFeatureMap(
        "complexExponential", -problem.omega32.T, np.zeros(len(problem.c), np.float32)
    )
    return lambda: computeSketch(problem.x, features) * len(problem.x)


RIVALS = {
    "fastcl": of_fastcl,
    "numpy": of_numpy,
    **{f"torch {chunk}": functools.partial(of_torch, chunk=chunk) for chunk in CHUNKS},
    **{f"phases {chunk}": functools.partial(of_phases, chunk=chunk) for chunk in CHUNKS},
    "pykeops": of_pykeops,
    **{
        f"finufft {precision}": functools.partial(of_finufft, precision=precision)
        for precision in ("single", "double")
    },
    "sklearn": of_sklearn,
    "pycle": of_pycle,
}
COLUMNS = ("numpy", "torch", "phases", "pykeops", "finufft", "sklearn", "pycle")
WHOLE = ("fastcl", "finufft")  # never on fewer points
MARKS = {("sklearn", "sum"): "h", ("pycle", "sum"): "1"}


def exact_map(problem, name, mark):
    """(what a rival should give, by fastcl in float64; the scale of its error)."""
    weights = np.ones_like(problem.weights) if mark == "1" else problem.weights
    x64, weights64 = problem.x.astype(np.float64), weights.astype(np.float64)
    exact = of_fastcl(Problem(x64, problem.omega, weights64, problem.c), name)()
    given = problem.c if name == "adjoint" else weights
    scale = np.abs(given).sum(dtype=np.float64)
    return exact.real if mark == "h" else exact, scale


def prepare(problem, name, rivals, limit):
    """(rival -> (points, function, error), rival -> why not)."""
    n, m = len(problem.x), len(problem.c)
    ready, left_out, exact = {}, {}, {}
    for rival in rivals:
        try:
            points = n
            if rival.split()[0] not in WHOLE and n * m > PROBE:
                few = max(1, PROBE // m)
                probe = RIVALS[rival](problem.first(few), name)
                probe()
                points = min(n, max(few, int(limit * few / min(seconds(probe), seconds(probe)))))
            part, mark = problem.first(points), MARKS.get((rival, name), "")
            function = RIVALS[rival](part, name)
            if (points, mark) not in exact:
                exact[points, mark] = exact_map(part, name, mark)
            value, scale = exact[points, mark]
            error = float(np.abs(function() - value).max() / scale)
            assert error < TOLERANCE or rival != "fastcl", error
            if not error < TOLERANCE:
                raise NotRun(f"error of {error:.1e} at {points} points ({rival}, {name})")
            ready[rival] = points, function, error
        except ImportError as problem_of_import:
            left_out[rival] = f"not installed ({problem_of_import})"
        except NotRun as reason:
            left_out[rival] = str(reason)
    return ready, left_out


def measure(problem, name, rivals, limit):
    """(column -> (ns per pair, mark), column -> error, column -> why not) of one map."""
    n, m = len(problem.x), len(problem.c)
    ready, left_out = prepare(problem, name, rivals, limit)
    times = in_turn({rival: function for rival, (_, function, _) in ready.items()}, least=TURN)
    cells, errors = {}, {}
    for rival, (points, _, error) in ready.items():
        column, cost = rival.split()[0], 1e9 * times[rival] / (points * m)
        errors[column] = max(error, errors.get(column, 0))
        if column not in cells or cost < cells[column][0]:
            cells[column] = cost, ("*" if points < n else "") + MARKS.get((rival, name), "")
    return cells, errors, {rival.split()[0]: reason for rival, reason in left_out.items()}


def report_targets(rows):
    """The middle size next to its targets."""
    print("\nTargets at n, m = 100000, 2000:")
    for (size, name, dim), (cells, share) in rows.items():
        if size != "middle":
            continue
        figures = [("share of the peak", share, PEAK_TARGETS.get(dim))]
        for column, targets in (("torch", TORCH_TARGETS), ("numpy", NUMPY_TARGETS)):
            if column in cells:
                ratio = cells[column][0] / cells["fastcl"][0]
                figures.append((f"ratio to {column}", ratio, targets.get(dim)))
        for what, value, target in figures:
            if target:
                missed = "" if value >= target else "MISSED"
                print(f"  {name:8} d = {dim:<4} {what:20}{value:>8.2f}  target {target:<6}{missed}")


def format_row(name, dim, cells, share, columns):
    """One line of the table."""
    own = cells["fastcl"][0]
    line = f"{name:7}{dim:>4}{own:>8.3f}{share:>6.2f} "
    for column in columns:
        cost, mark = cells.get(column, (None, ""))
        line += f"{cost:>8.3g}{mark:2}{cost / own:>6.3g}  " if cost else f"{'-':>8}{'':10}"
    return line


def run_sizes(sizes, options):
    """Print the table of every size.

    ((size, map, d) -> figures, column -> largest error, what was not run and why).
    """
    rivals = [rival for rival in RIVALS if rival.split()[0] in ("fastcl", *options.rivals)]
    header = "".join(f"{column:>8}{'ratio':>8}  " for column in options.rivals)
    rows, worst, missing = {}, {}, {}
    for size, (n, m) in sizes.items():
        print(f"\nn = {n}, m = {m}; ns per pair")
        print(f"map       d{'fastcl':>8} share {header} peak before and after, G/s")
        for dim in options.dim or DIMS.get(size, (2,)):
            problem = Problem.draw(n, m, dim, options.std)
            before = multiply_adds_per_second()
            measured = {
                name: measure(problem, name, rivals, options.limit) for name in ("sum", "adjoint")
            }
            after = multiply_adds_per_second()
            for name, (cells, errors, left_out) in measured.items():
                share = (dim + 15) * 1e9 / cells["fastcl"][0] / max(before, after)
                rows[size, name, dim] = cells, share
                line = format_row(name, dim, cells, share, options.rivals)
                print(line, f"{before / 1e9:6.1f} {after / 1e9:6.1f}", flush=True)
                for column, error in errors.items():
                    worst[column] = max(error, worst.get(column, 0))
                missing |= {(column, reason): None for column, reason in left_out.items()}
    return rows, worst, missing


def main():
    parser = new_parser(__doc__)
    parser.add_argument(
        "--dim", type=int, action="append", help="repeatable; by default those of each size"
    )
    parser.add_argument(
        "--size", choices=SIZES, action="append", help="repeatable; by default all three"
    )
    parser.add_argument("--rivals", nargs="*", choices=COLUMNS, default=COLUMNS)
    parser.add_argument(
        "--limit", type=float, default=0.15, help="seconds per call of a rival (%(default)s)"
    )
    parser.add_argument(
        "--std",
        type=float,
        default=3.0,
        help="standard deviation of the frequencies; matters to finufft (%(default)s)",
    )
    options = parser.parse_args()
    print(machine())
    sizes = {size: SIZES[size] for size in options.size or SIZES}
    rows, worst, missing = run_sizes({"quick": QUICK} if options.quick else sizes, options)
    print("\n* timed on fewer points; h half the work: only cosines; 1 all weights are one")
    errors = ", ".join(f"{column} {error:.1e}" for column, error in worst.items())
    print(f"largest error divided by the sum of |weights|: {errors}")
    for column, reason in missing:
        print(f"not run: {column}: {reason}")
    for column in COLUMNS:
        if column not in options.rivals:
            print(f"not run: {column}: not asked for")
    if not options.quick:
        report_targets(rows)


if __name__ == "__main__":
    main()
