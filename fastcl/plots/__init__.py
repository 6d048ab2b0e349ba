"""Pictures of densities, energies, learning runs and frequencies; needs matplotlib (extra "demo").

`densities` draws densities and energies, on one or two coordinates that `slices` picks. `history`
draws the course of a learning run, `frequencies` what a sketch measures, and `figures` has what
they share. A function draws into the axes that it is given, or into a new figure that belongs to
no window: the state of pyplot is never touched. Colour maps are perceptually uniform (viridis),
line colours safe for colour-blind readers (Okabe and Ito).
"""

from .densities import plot_density, plot_energy
from .figures import new_figure, save_figure, show_density, show_image
from .frequencies import plot_frequencies
from .history import plot_history

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
