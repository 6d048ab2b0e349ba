"""What `import fastcl` costs: nothing is compiled, and the slow parts of SciPy come when they are used."""

import subprocess
import sys

CHILD = """
import sys
import fastcl
from fastcl.backend import _NUMBA
slow = {"scipy.stats", "scipy.optimize", "scipy.signal", "scipy.ndimage", "matplotlib", "skimage", "tqdm", "finufft"}
print(sorted(slow & set(sys.modules)), [name for name, kernel in _NUMBA.items() if getattr(kernel, "signatures", None)])
"""


def test_import_compiles_nothing_and_loads_nothing_slow():
    done = subprocess.run([sys.executable, "-c", CHILD], check=True, capture_output=True, text=True)
    assert done.stdout == "[] []\n"
