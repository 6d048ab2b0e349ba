"""Objects taken apart into arrays and rebuilt from them, as when saved and loaded."""

import numpy as np

from fastcl import files


def through_arrays(thing, lost=None):
    """A storable object rebuilt from its arrays, all but the one named `lost`."""
    parts = files.parts_of("part", thing)
    arrays = {name: np.asarray(part) for name, part in parts.items() if name != f"part.{lost}"}
    return files.part_from("part", arrays, files.Storable)
