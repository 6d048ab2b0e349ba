"""What the scripts share on the command line: `--quick`, and one line when something is missing.

It runs nothing by itself.
"""

import argparse
import importlib
import sys
from pathlib import Path


def new_parser(documentation):
    """A parser that shows the script's documentation as it stands and knows `--quick`."""
    parser = argparse.ArgumentParser(
        description=documentation, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="tiny sizes: shows that the script runs; its figures mean nothing",
    )
    return parser


def stop(reason):
    """End the script with one line on standard error and exit status 2."""
    print(f"{Path(sys.argv[0]).name}: {reason}", file=sys.stderr)
    raise SystemExit(2)


def require(module, hint='pip install -e ".[benchmark]"'):
    """The imported module; without it the script stops, and the line says what to do."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        stop(f"needs {module} ({error}): {hint}")


def require_gpu():
    """CuPy; without CuPy or a GPU the script stops."""
    cupy = require("cupy", 'pip install -e ".[cuda]", on a machine with a GPU')
    if not cupy.cuda.is_available():
        stop("CuPy finds no GPU")
    return cupy
