"""The two linear maps of compressive learning, and the frequencies that define them.

The feature sum ``(A w)_l = sum_i w_i exp(-i <omega_l, x_i>)`` and its adjoint ``(A* c)_i = Re sum_l c_l exp(i <omega_l, x_i>)``
are in `features`. `frequencies` draws omega and estimates its scale from data, `radii` holds the distributions of its radii;
`structured` and `seeded` are frequencies that cost less time or space. `nufft` computes the same sums by finufft, and
`transfer` streams host arrays through a device.
"""
