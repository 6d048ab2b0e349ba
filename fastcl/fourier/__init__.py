"""The two linear maps of compressive learning, and the frequencies that define them.

`features` has the feature sum ``(A w)_l = sum_i w_i exp(-i <omega_l, x_i>)`` and its adjoint
``(A* c)_i = Re sum_l c_l exp(i <omega_l, x_i>)``. `operator` has one class for each way to compute
them, `nufft` adds one that uses finufft, and `methods` chooses between them. `frequencies` draws
omega and estimates its scale from data, using the distributions in `radii`; the frequencies in
`structured` take less time, those in `seeded` less space. `transfer` streams host arrays through a
device.
"""
