"""The compiled kernels: everything that touches a (point, frequency) pair or a network weight."""
