"""Tables that are printed line by line as they are measured, kept for a file, and told apart where they failed."""

import traceback
from typing import ClassVar


class Table:
    """Lines that are printed at once, and kept for the file."""

    every: ClassVar = []  # in the order of their making

    def __init__(self, title, columns):
        self.title, self.columns, self.rows, self.good = title, columns, [], []
        Table.every.append(self)
        print(f"\n## {title}\n\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}", flush=True)

    def add(self, *row, good=True):
        """Add a line; one that is not `good` is marked as a failure."""
        self.rows.append(row)
        self.good.append(bool(good))
        cells = [f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in row]
        print(f"| {' | '.join(cells)} |{'' if good else ' FAILED'}", flush=True)

    def to_dicts(self):
        return [
            dict(zip((*self.columns, "good"), (*row, good), strict=True))
            for row, good in zip(self.rows, self.good, strict=True)
        ]


def attempt(function, *arguments):
    """Whether the function came to its end; what stopped it is printed."""
    try:
        function(*arguments)
    except Exception:  # what else can be measured counts
        traceback.print_exc()
        return False
    return True
