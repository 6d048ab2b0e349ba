"""Tables that are printed as they are measured, kept for a file, and marked where they failed."""

import traceback
from typing import ClassVar


class Table:
    """Rows that are printed at once and kept for the file."""

    every: ClassVar = []  # all tables, in the order in which they were made

    def __init__(self, title, columns):
        self.title = title
        self.columns = columns
        self.rows = []
        self.good = []
        Table.every.append(self)
        print(f"\n## {title}\n\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}", flush=True)

    def add(self, *row, good=True):
        """Add a row; one that is not `good` is marked as a failure."""
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
    """Whether the function ran to its end; if not, what stopped it is printed."""
    try:
        function(*arguments)
    except Exception:  # the other parts can still be measured
        traceback.print_exc()
        return False
    return True
