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

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import nvrtc

from fastcl.kernels.launchers import VARIANTS

MULTIPROCESSORS, CLOCK = 132, 1.7e9  # of an H100
ISSUED, SPECIAL = 128, 16  # instructions of threads, and special functions, a clock and multiprocessor
KINDS = {"FMA": ("FFMA", "FADD", "FMUL"), "special": ("MUFU",), "shared": ("LDS",)}
TILE_PAIRS, TILE_CHUNK = 64, 16  # pairs of a thread, and dimensions that are staged at once, in feature_*_tiled
INSTRUCTION = re.compile(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?PT?\d* )?([A-Z][\w.]*)(.*?);")


def disassemble(cubin):
    """Mangled kernel name -> (operations, loops as (first, last)) in the order of the text."""
    folders = importlib.util.find_spec("nvidia").submodule_search_locations
    tool = next(path for folder in folders for path in Path(folder).glob("*/bin/nvdisasm"))
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        text = subprocess.run([tool, "-c", file.name], capture_output=True, text=True, check=True).stdout
    kernels = {}
    for section in re.split(r"\n\s*\.section\s+\.text\.", text)[1:]:
        operations, labels, loops = [], {}, []
        for line in section.splitlines():
            label, instruction = re.match(r"\.(L_x_\d+):", line), INSTRUCTION.search(line)
            if label:
                labels[label[1]] = len(operations)
            if instruction:
                target = re.search(r"`\(\.(L_x_\d+)\)", instruction[2]) if instruction[1] == "BRA" else None
                if target and target[1] in labels:  # a branch back
                    loops.append((labels[target[1]], len(operations)))
                operations.append(instruction[1].replace(".FTZ", ""))
        kernels[re.split(r"[,\"]", section)[0]] = operations, loops
    return kernels


def count(operations):
    """Kind -> how many of the operations are of it; "all" of them."""
    counts = {kind: sum(name.startswith(names) for name in operations) for kind, names in KINDS.items()}
    return counts | {"other": len(operations) - sum(counts.values()), "all": len(operations)}


def innermost(loops):
    return [a for a in loops if not any(a != b and a[0] <= b[0] and b[1] <= a[1] for b in loops)]


def pair_of_small_dim(operations, loops):
    """Counts a pair in the largest innermost loop with special functions; the reduction of a phase has one FADD."""
    bodies = [operations[first : last + 1] for first, last in innermost(loops)]
    body = max((body for body in bodies if "MUFU.COS" in body), key=len)
    return {kind: number / body.count("FADD") for kind, number in count(body).items()}


def pair_of_tile(operations, loops, dim):
    """Counts a pair of the tiled kernels: the products of its dimensions, its share of the copies, and its wave."""
    product = max(innermost(loops), key=lambda loop: operations[loop[0] : loop[1] + 1].count("FFMA"))
    around = min((loop for loop in loops if loop[0] < product[0] and product[1] < loop[1]), key=lambda loop: loop[1] - loop[0])
    after = operations[product[1] + 1 : around[1] + 1]
    waves = [place for place, name in enumerate(after) if name.startswith(("FADD", "FFMA", "MUFU"))]
    step, wave = operations[product[0] : product[1] + 1], after[waves[0] : waves[-1] + 1]
    rest = operations[around[0] : product[0]] + after[: waves[0]] + after[waves[-1] + 1 :]
    dims = step.count("FFMA") / TILE_PAIRS
    parts = ((step, -(-dim // dims)), (rest, -(-dim // TILE_CHUNK)), (wave, 1))
    return {kind: sum(count(body)[kind] * times for body, times in parts) / TILE_PAIRS for kind in count(step)}


def bound(counts):
    """Pairs a second that issue, or the special-function unit, leaves possible."""
    return MULTIPROCESSORS * CLOCK * min(ISSUED / counts["all"], SPECIAL / counts["special"])


def main():
    print("| kernel | variants | registers | stack, bytes | spills, bytes |\n|---|---|---|---|---|")
    for name in VARIANTS:
        compiled, _ = nvrtc.compile_source(name)
        for kernel in dict.fromkeys(expression.partition("<")[0] for expression in compiled):
            found = [row for expression, row in compiled.items() if expression.partition("<")[0] == kernel]
            low, high = (pick(row.registers for row in found) for pick in (min, max))
            stack, spills = max(row.stack for row in found), max(row.spills for row in found)
            print(f"| {kernel} | {len(found)} | {low}..{high} | {stack} | {spills} |")
    print("\n| map | d | FMA pipe | special | shared loads | other | all | 10^12 pairs a second, at most | limit |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name in ("feature_sum", "feature_adjoint"):
        for dim in (1, 2, 3, 4, 8, 16, 64, 192):
            points = {"feature_sum": "", "feature_adjoint": ", 8" if dim <= 8 else ", 128"}[name]
            expression = f"{name}<float, {dim}{points}>" if dim <= 8 else f"{name}_tiled<float{points}>"
            _, cubin = nvrtc.compile_source("features", expressions=(expression,))
            (kernel,) = disassemble(cubin).values()
            counts = pair_of_small_dim(*kernel) if dim <= 8 else pair_of_tile(*kernel, dim)
            figures = " | ".join(f"{counts[kind]:.2f}" for kind in ("FMA", "special", "shared", "other", "all"))
            limit = "issue" if ISSUED / counts["all"] < SPECIAL / counts["special"] else "special functions"
            print(f"| {name.removeprefix('feature_')} | {dim} | {figures} | {bound(counts) / 1e12:.2f} | {limit} |")


if __name__ == "__main__":
    main()
