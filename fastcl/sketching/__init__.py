"""The moments of a data set: ``z_l = (1/n) sum_i exp(-i <omega_l, x_i>)``.

`sketch` has the class `Sketch` and the pass that makes one, `checkpoint` an interrupted pass that resumes; `dask` sketches dask
arrays. `quantised` are features of a few bits, `privacy` releases sketches with differential privacy, and `accountant` keeps
the account of what releases have spent.
"""
