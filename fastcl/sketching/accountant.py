"""What releases of a sketch have given away about each of the data sets that it counts."""

import secrets
from dataclasses import dataclass, field

import numpy as np

STATES = ("raw", "released", "mixed")


@dataclass
class Ledger:
    """Random identities of data, and the (epsilon, delta) spent on each: on its points by releases, or by this release.

    A sketch gets an identity with its first point, a merged one has those of its parts; copies and files keep them.  Different
    identities are different points.
    """

    state: str = "raw"  # "mixed": of sketches with and without noise
    spent: dict = field(default_factory=dict)  # identity -> (epsilon, delta)
    repeated: bool = False  # whether raw points were counted twice, by a merge of sketches that share an identity

    def begin(self):
        """An identity for the points that are about to come; ValueError where they would be beside noise."""
        if self.state == "released":
            raise ValueError(
                "a released sketch takes no raw points: sketch them apart, release that sketch, and merge"
            )
        if not self.spent:
            self.spent[secrets.token_hex(16)] = (0.0, 0.0)

    @property
    def largest(self):
        """(epsilon, delta) that hold for every point: the largest of each."""
        return tuple(max((pair[k] for pair in self.spent.values()), default=0.0) for k in range(2))

    def add(self, epsilon, delta):
        """Another release of everything: sequential composition."""
        self.spent = {name: (e + epsilon, d + delta) for name, (e, d) in self.spent.items()}

    def __add__(self, other):
        state = self.state if self.state == other.state else "mixed"
        shared = self.spent.keys() & other.spent.keys()
        spent = self.spent | other.spent
        for name in shared:
            spent[name] = tuple(
                a + b for a, b in zip(self.spent[name], other.spent[name], strict=True)
            )
        return Ledger(state, spent, self.repeated or other.repeated or bool(shared))

    def copy(self):
        """Another one with the same entries."""
        return Ledger(self.state, dict(self.spent), self.repeated)

    def to_arrays(self):
        """What a file keeps: name -> array."""
        amounts = np.array(list(self.spent.values()), np.float64).reshape(-1, 2)
        names = np.array(list(self.spent), "U32")
        return {
            "state": self.state,
            "identities": names,
            "spent": amounts,
            "repeated": np.bool_(self.repeated),
        }

    @classmethod
    def from_arrays(cls, arrays):
        """The ledger whose `to_arrays` gave `arrays`; ValueError where they are not such."""
        state, names = str(arrays.get("state")), np.asarray(arrays.get("identities"))
        spent, repeated = np.asarray(arrays.get("spent")), np.asarray(arrays.get("repeated"))
        good = (
            state in STATES
            and names.dtype.kind == "U"
            and names.ndim == 1
            and len(set(names.tolist())) == len(names)
        )
        good = (
            good
            and spent.dtype.kind == "f"
            and spent.shape == (len(names), 2)
            and repeated.dtype.kind == "b"
        )
        if not (good and repeated.ndim == 0 and np.isfinite(spent).all() and (spent >= 0).all()):
            raise ValueError("not a sketch: its account of privacy is damaged")
        return cls(
            state,
            dict(zip(names.tolist(), map(tuple, spent.tolist()), strict=True)),
            bool(repeated),
        )
