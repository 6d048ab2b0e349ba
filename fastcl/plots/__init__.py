"""Pictures of densities, energies, histories and frequencies, by matplotlib.

`figures` draws them, `slices` evaluates a density on one or two of its coordinates.
"""

from .figures import (
    new_figure,
    plot_density,
    plot_energy,
    plot_frequencies,
    plot_history,
    save_figure,
    show_density,
    show_image,
)

__all__ = [
    "new_figure",
    "plot_density",
    "plot_energy",
    "plot_frequencies",
    "plot_history",
    "save_figure",
    "show_density",
    "show_image",
]
