"""The CUDA kernels as compiled for sm_90, counted without a device: python benchmarks/instructions.py

Registers, stack and spills of every kernel, and for the float32 feature maps the instructions a pair of the loop that matters,
with the pairs a second that an H100 could do at most by that count. No time in it was measured.
"""

import importlib.util
import re
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))
import nvrtc

from fastcl.kernels.launchers import VARIANTS

MULTIPROCESSORS, CLOCK = 132, 1.7e9  # of an H100
RATES = {
    "all": 128,
    "special": 16,
    "tensor": 32,
}  # instructions of threads a clock and multiprocessor, products of 16 x 8 x 16
KINDS = {
    "FMA": ("FFMA", "FADD", "FMUL"),
    "special": ("MUFU",),
    "tensor": ("HMMA",),
    "shared": ("LDS",),
}
TILE_PAIRS, TILE_CHUNK = (
    64,
    16,
)  # pairs of a thread, and dimensions that are staged at once, in feature_*_tensor
INSTRUCTION = re.compile(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?PT?\d* )?([A-Z][\w.]*)(.*?);")


def disassemble(cubin):
    """Mangled kernel name -> (operations, loops as (first, last)) in the order of the text."""
    folders = importlib.util.find_spec("nvidia").submodule_search_locations
    tool = next(path for folder in folders for path in Path(folder).glob("*/bin/nvdisasm"))
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        text = subprocess.run(
            [tool, "-c", file.name], capture_output=True, text=True, check=True
        ).stdout
    kernels = {}
    for section in re.split(r"\n\s*\.section\s+\.text\.", text)[1:]:
        operations, labels, loops = [], {}, []
        for line in section.splitlines():
            label, instruction = re.match(r"\.(L_x_\d+):", line), INSTRUCTION.search(line)
            if label:
                labels[label[1]] = len(operations)
            if instruction:
                target = (
                    re.search(r"`\(\.(L_x_\d+)\)", instruction[2])
                    if instruction[1] == "BRA"
                    else None
                )
                if target and target[1] in labels:  # a branch back
                    loops.append((labels[target[1]], len(operations)))
                operations.append(instruction[1].replace(".FTZ", ""))
        kernels[re.split(r"[,\"]", section)[0]] = operations, loops
    return kernels


def count(operations):
    """Kind -> how many of the operations are of it; "all" of them."""
    counts = {
        kind: sum(name.startswith(names) for name in operations) for kind, names in KINDS.items()
    }
    return counts | {"other": len(operations) - sum(counts.values()), "all": len(operations)}


def innermost(loops):
    return [a for a in loops if not any(a != b and a[0] <= b[0] and b[1] <= a[1] for b in loops)]


def pair_of_small_dim(operations, loops):
    """Counts a pair in the largest innermost loop with special functions; the reduction of a phase has one FADD."""
    bodies = [operations[first : last + 1] for first, last in innermost(loops)]
    body = max((body for body in bodies if "MUFU.COS" in body), key=len)
    return {kind: number / body.count("FADD") for kind, number in count(body).items()}


def pair_of_tile(operations, loops, dim):
    """Counts a pair of the kernels for any d: every chunk of dimensions, both ways to load points included, and its wave."""
    first, last = next(
        loop
        for loop in innermost(loops)
        if any(name.startswith("HMMA") for name in operations[slice(*loop)])
    )
    special = [place for place in range(first, last) if operations[place].startswith("MUFU")]
    start = (
        max(place for place in range(first, special[0]) if operations[place].startswith("BRA")) + 1
    )
    stop = min(place for place in range(special[-1], last) if operations[place] == "LDGDEPBAR")
    step, wave = (
        count(operations[first:start] + operations[stop : last + 1]),
        count(operations[start:stop]),
    )
    return {kind: (step[kind] * -(-dim // TILE_CHUNK) + wave[kind]) / TILE_PAIRS for kind in step}


def bound(counts):
    """(pairs a second that issue, the special-function units or the tensor cores leave possible, which of them)."""
    rates = {kind: rate / counts[kind] for kind, rate in RATES.items() if counts[kind]}
    limit = min(rates, key=rates.get)
    return MULTIPROCESSORS * CLOCK * rates[limit], {
        "all": "issue",
        "special": "special functions",
        "tensor": "tensor cores",
    }[limit]


def main():
    print("| kernel | variants | registers | stack, bytes | spills, bytes |\n|---|---|---|---|---|")
    for name in VARIANTS:
        compiled, _ = nvrtc.compile_source(name)
        for kernel in dict.fromkeys(expression.partition("<")[0] for expression in compiled):
            found = [
                row
                for expression, row in compiled.items()
                if expression.partition("<")[0] == kernel
            ]
            low, high = (pick(row.registers for row in found) for pick in (min, max))
            stack, spills = max(row.stack for row in found), max(row.spills for row in found)
            print(f"| {kernel} | {len(found)} | {low}..{high} | {stack} | {spills} |")
    print(
        "\n| map | d | FMA pipe | special | tensor | shared loads | other | all | 10^12 pairs a second, at most | limit |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name in ("feature_sum", "feature_adjoint"):
        for dim in (1, 2, 3, 4, 8, 16, 64, 192):
            points = {"feature_sum": "", "feature_adjoint": ", 8" if dim <= 8 else "<128>"}[name]
            file, expression = (
                ("features", f"{name}<float, {dim}{points}>")
                if dim <= 8
                else ("features_tensor", f"{name}_tensor{points}")
            )
            _, cubin = nvrtc.compile_source(file, expressions=(expression,))
            (kernel,) = (found for mangled, found in disassemble(cubin).items() if name in mangled)
            counts = pair_of_small_dim(*kernel) if dim <= 8 else pair_of_tile(*kernel, dim)
            figures = " | ".join(f"{counts[kind]:.2f}" for kind in (*KINDS, "other", "all"))
            most, limit = bound(counts)
            print(
                f"| {name.removeprefix('feature_')} | {dim} | {figures} | {most / 1e12:.2f} | {limit} |"
            )


if __name__ == "__main__":
    main()
