"""The compiled kernels: everything that touches a (point, frequency) pair or a network weight.

Each Numba file stands beside the CUDA file of the same name, with the same functions and arguments;
`launchers` starts the CUDA kernels. `backend.kernel(name, like=x)` picks the one that serves an
array.

Every kernel opens with its formula and the shapes of its arguments. What Numba's loops would not
keep in registers is emitted as LLVM vectors (lanes.py), beside the plain loop that it is equal to.
"""
