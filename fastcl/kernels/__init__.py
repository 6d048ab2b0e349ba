"""The compiled kernels: everything that touches a (point, frequency) pair or a network weight.

Each Numba file stands next to the CUDA file of the same name, with the same functions and
arguments; `launchers` starts the CUDA kernels. `backend.kernel(name, like=x)` picks the kernel for
the kind of array that x is.

Every kernel opens with its formula and the shapes of its arguments. Loops that Numba would not keep
in registers are emitted as LLVM vectors (lanes.py), next to the plain loop that they are equal to.

The tasks of a parallel kernel are numbered by n and m alone; threads.py shares them out.
"""
