"""The two linear maps of compressive learning, and the frequencies that define them.

The feature sum ``(A w)_l = sum_i w_i exp(-i <omega_l, x_i>)`` and its adjoint ``(A* c)_i = Re sum_l
c_l exp(i <omega_l, x_i>)`` are the functions in `features`; `operator` has one class for each way
to compute them, `nufft` one more that uses finufft, and `methods` chooses. `frequencies` draws
omega and estimates its scale from data, with the distributions in `radii`; `structured` and
`seeded` are frequencies that cost less time or space. `transfer` streams host arrays through a
device.
"""
