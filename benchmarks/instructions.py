"""The CUDA kernels compiled for sm_90, counted without a device: python benchmarks/instructions.py

Prints registers, stack and spills of every kernel. For the float32 feature maps it also prints the
instructions per (point, frequency) pair of the loop that matters, and how many pairs per second an
H100 could do at most by that count. None of it was timed. Needs the compiler and the disassembler
of CUDA, which come with the extra "benchmark".
"""

import importlib.util
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import command

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))
import nvrtc

from fastcl.kernels.launchers import VARIANTS
from fastcl.kernels.launchers.features import CHUNK

MULTIPROCESSORS = 132  # of an H100
CLOCK = 1.7e9  # Hz
# Per clock and multiprocessor: thread instructions, special functions, and thread instructions of
# products of 16 x 8 x 16.
RATES = {"all": 128, "special": 16, "tensor": 32}
LIMITS = {"all": "issue", "special": "special functions", "tensor": "tensor cores"}
KINDS = {
    "FMA": ("FFMA", "FADD", "FMUL"),
    "special": ("MUFU",),
    "tensor": ("HMMA",),
    "shared": ("LDS",),
}
TILE_PAIRS = 64  # pairs per thread in feature_*_tensor
INSTRUCTION = re.compile(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?PT?\d* )?([A-Z][\w.]*)(.*?);")
DIMS = (1, 2, 3, 4, 8, 16, 64, 192)
QUICK = {"files": ("random",), "dims": (2, 16)}


def find_disassembler():
    """The path of nvdisasm; None if it is not installed."""
    package = importlib.util.find_spec("nvidia")
    for folder in package.submodule_search_locations if package else ():
        for path in Path(folder).glob("*/bin/nvdisasm"):
            return path
    return None


def disassemble(cubin):
    """Mangled kernel name -> (operations, loops as (first, last)) in the order of the text."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        disassembler = [find_disassembler(), "-c", file.name]
        text = subprocess.run(disassembler, capture_output=True, text=True, check=True).stdout
    kernels = {}
    for section in re.split(r"\n\s*\.section\s+\.text\.", text)[1:]:
        operations, labels, loops = [], {}, []
        for line in section.splitlines():
            label, instruction = re.match(r"\.(L_x_\d+):", line), INSTRUCTION.search(line)
            if label:
                labels[label[1]] = len(operations)
            if instruction:
                target = re.search(r"`\(\.(L_x_\d+)\)", instruction[2])
                backward = instruction[1] == "BRA" and target and target[1] in labels
                if backward:
                    loops.append((labels[target[1]], len(operations)))
                operations.append(instruction[1].replace(".FTZ", ""))
        kernels[re.split(r"[,\"]", section)[0]] = operations, loops
    return kernels


def count(operations):
    """How many operations there are of each kind, and in all."""
    counts = {
        kind: sum(name.startswith(names) for name in operations) for kind, names in KINDS.items()
    }
    return counts | {"other": len(operations) - sum(counts.values()), "all": len(operations)}


def innermost(loops):
    return [a for a in loops if not any(a != b and a[0] <= b[0] and b[1] <= a[1] for b in loops)]


def pair_of_small_dim(operations, loops):
    """Counts per pair in the largest innermost loop with special functions.

    The reduction of a phase has one FADD, so those count the pairs.
    """
    bodies = [operations[first : last + 1] for first, last in innermost(loops)]
    body = max((body for body in bodies if "MUFU.COS" in body), key=len)
    return {kind: number / body.count("FADD") for kind, number in count(body).items()}


def pair_of_tile(operations, loops, dim):
    """Counts per pair of the kernels for any d.

    They include every chunk of dimensions, with both ways of loading points, and the sines and
    cosines.
    """

    def multiplies(loop):
        return any(name.startswith("HMMA") for name in operations[slice(*loop)])

    first, last = next(loop for loop in innermost(loops) if multiplies(loop))
    special = [place for place in range(first, last) if operations[place].startswith("MUFU")]
    branches = (k for k in range(first, special[0]) if operations[k].startswith("BRA"))
    start = max(branches) + 1
    stop = min(k for k in range(special[-1], last) if operations[k] == "LDGDEPBAR")
    chunk = count(operations[first:start] + operations[stop : last + 1])
    sincos = count(operations[start:stop])
    chunks = -(-dim // CHUNK)
    return {kind: (chunk[kind] * chunks + sincos[kind]) / TILE_PAIRS for kind in chunk}


def bound(counts):
    """(pairs per second that are possible at most, what limits them)."""
    rates = {kind: rate / counts[kind] for kind, rate in RATES.items() if counts[kind]}
    limit = min(rates, key=rates.get)
    return MULTIPROCESSORS * CLOCK * rates[limit], LIMITS[limit]


def report_registers(files):
    print("| kernel | variants | registers | stack, bytes | spills, bytes |\n|---|---|---|---|---|")
    for name in files:
        compiled, _ = nvrtc.compile_source(name)
        kernels = {}
        for expression, row in compiled.items():
            kernels.setdefault(expression.partition("<")[0], []).append(row)
        for kernel, found in kernels.items():
            low, high = (pick(row.registers for row in found) for pick in (min, max))
            stack = max(row.stack for row in found)
            spills = max(row.spills for row in found)
            print(f"| {kernel} | {len(found)} | {low}..{high} | {stack} | {spills} |", flush=True)


def compile_map(name, dim):
    """(operations, loops) of the float32 kernel that serves one map at one d."""
    small = dim <= 8
    points = {"feature_sum": "", "feature_adjoint": ", 8" if small else "<128, 128>"}[name]
    file, expression = (
        ("features", f"{name}<float, {dim}{points}>")
        if small
        else ("features_tensor", f"{name}_tensor{points}")
    )
    _, cubin = nvrtc.compile_source(file, expressions=(expression,))
    (kernel,) = (found for mangled, found in disassemble(cubin).items() if name in mangled)
    return kernel


def report_maps(dims):
    columns = ("map", "d", "FMA pipe", "special", "tensor", "shared loads", "other", "all")
    columns += ("10^12 pairs/s, at most", "limit")
    print(f"\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for name in ("feature_sum", "feature_adjoint"):
        for dim in dims:
            kernel = compile_map(name, dim)
            counts = pair_of_small_dim(*kernel) if dim <= 8 else pair_of_tile(*kernel, dim)
            figures = " | ".join(f"{counts[kind]:.2f}" for kind in (*KINDS, "other", "all"))
            most, limit = bound(counts)
            label = name.removeprefix("feature_")
            print(f"| {label} | {dim} | {figures} | {most / 1e12:.2f} | {limit} |", flush=True)


def main():
    options = command.new_parser(__doc__).parse_args()
    if nvrtc.library() is None or find_disassembler() is None:
        command.stop('needs NVRTC and nvdisasm: pip install -e ".[benchmark]"')
    report_registers(QUICK["files"] if options.quick else VARIANTS)
    report_maps(QUICK["dims"] if options.quick else DIMS)


if __name__ == "__main__":
    main()
