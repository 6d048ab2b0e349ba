"""The moments of a data set: ``z_l = (1/n) sum_i exp(-i <omega_l, x_i>)``.

`sketch` has the class `Sketch`, and `data_set` the function `sketch`, which reads a data set once.
`checkpoint` runs that pass, which may be interrupted and resumed; `dask` does the same for dask
arrays. `quantised` has features of a few bits, `privacy` releases sketches with differential
privacy, `accountant` keeps track of the privacy that releases have spent, and `distance` compares
two sketches.
"""
