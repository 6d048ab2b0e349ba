"""NVRTC through ctypes: compiles the `.cu` files for any architecture, without driver or device."""

import ctypes
import importlib.util
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fastcl.kernels import cuda
from fastcl.kernels.launchers import VARIANTS

CUPYS_OWN = ("-ftz=true", "--device-as-default-execution-space")  # options that CuPy adds
ENTRY = re.compile(r"Compiling entry function '(\w+)'")
USED = re.compile(r"Used (\d+) registers")
SPILLS = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")


@dataclass
class Compiled:
    """One kernel as `ptxas` describes it: registers per thread, bytes of stack and spills."""

    registers: int
    stack: int
    spills: int


@cache
def library():
    """NVRTC from its wheel; None if it is not installed."""
    package = importlib.util.find_spec("nvidia")
    for folder in package.submodule_search_locations if package else ():
        for path in sorted(Path(folder).glob("*/lib/libnvrtc.so.*")):
            return ctypes.CDLL(str(path))
    return None


def _check(nvrtc, status, program=None):
    if status:
        raise RuntimeError(
            _text(nvrtc, program, "ProgramLog") if program else f"NVRTC error {status}"
        )


def _text(nvrtc, program, what):
    size = ctypes.c_size_t()
    getattr(nvrtc, f"nvrtcGet{what}Size")(program, ctypes.byref(size))
    buffer = ctypes.create_string_buffer(size.value)
    getattr(nvrtc, f"nvrtcGet{what}")(program, buffer)
    return buffer.raw if what == "CUBIN" else buffer.value.decode()


def _describe(log):
    """Mangled name -> `Compiled`, from what `ptxas` printed."""
    described, current = {}, None
    for part in log.split("ptxas info    : ")[1:]:
        entry, stack, used = ENTRY.match(part), SPILLS.search(part), USED.match(part)
        current = entry[1] if entry else current
        if current is None:
            continue
        kernel = described.setdefault(current, Compiled(0, 0, 0))
        if stack:
            kernel.stack, kernel.spills = int(stack[1]), int(stack[2]) + int(stack[3])
        if used:
            kernel.registers = int(used[1])
    return described


@cache
def compile_source(name, architecture="sm_90", expressions=None):
    """(name expression -> Compiled, cubin) of `name`.cu: all variants, or the given ones."""
    nvrtc, program = library(), ctypes.c_void_p()
    expressions = tuple(VARIANTS[name]) if expressions is None else expressions
    text = cuda.source(name).encode()
    _check(nvrtc, nvrtc.nvrtcCreateProgram(ctypes.byref(program), text, b"", 0, None, None))
    for expression in expressions:
        _check(nvrtc, nvrtc.nvrtcAddNameExpression(program, expression.encode()))
    target = (f"--gpu-architecture={architecture}", "--ptxas-options=-v")
    options = [option.encode() for option in (*cuda.options(name), *CUPYS_OWN, *target)]
    pointers = (ctypes.c_char_p * len(options))(*options)
    _check(nvrtc, nvrtc.nvrtcCompileProgram(program, len(options), pointers), program)
    described = _describe(_text(nvrtc, program, "ProgramLog"))
    names, lowered = {}, ctypes.c_char_p()
    for expression in expressions:
        status = nvrtc.nvrtcGetLoweredName(program, expression.encode(), ctypes.byref(lowered))
        _check(nvrtc, status)
        names[expression] = described[lowered.value.decode()]
    cubin = _text(nvrtc, program, "CUBIN")
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    return names, cubin
