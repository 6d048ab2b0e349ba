"""The account of the privacy that releases of a sketch have spent on each data set.

Every raw sketch draws a random identity when it gets its first points. Copies, files and merges
keep it, and different identities stand for different points. The account maps identities to the
(epsilon, delta) spent on them, and is merged by the two rules of composition:

- Releases of different data: all points have the larger epsilon and the larger delta (parallel
  composition).
- Releases that share an identity: epsilons and deltas add up for that identity (sequential
  composition).

A release merged with a raw sketch is "mixed": it can still be learned from, but its privacy is None
and it cannot be released again. Two things go unnoticed: the same points sketched twice, and the
release of another copy of the raw sketch, until the two are merged.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

import numpy as np

from ..files import Arrays

Privacy = tuple[float, float]  # (epsilon, delta)
STATES = ("raw", "released", "mixed")


@dataclass
class PrivacyAccountant:
    """The (epsilon, delta) spent on each data set in a sketch.

    Attributes
    ----------
    state : "raw", "released" or "mixed"
        Whether the sums carry no noise, are a release, or add up sketches of both kinds.
    spent : dict, str -> (epsilon, delta)
        For each identity: what all releases have spent so far if the sketch is raw, and what this
        release has spent if it is one.
    repeated : bool
        Whether the same points were counted twice, by a merge of sketches that share an identity.
    """

    state: str = "raw"
    spent: dict[str, Privacy] = field(default_factory=dict)
    repeated: bool = False

    def register_points(self) -> None:
        """Draw an identity when the first points come; ValueError if the sketch is a release."""
        if self.state == "released":
            raise ValueError(
                "a released sketch takes no raw points: "
                "sketch them apart, release that sketch, and merge"
            )
        if not self.spent:
            self.spent[secrets.token_hex(16)] = (0.0, 0.0)

    @property
    def largest(self) -> Privacy:
        """(epsilon, delta) that hold for every point: the largest epsilon, the largest delta."""
        epsilons, deltas = zip((0.0, 0.0), *self.spent.values(), strict=True)
        return max(epsilons), max(deltas)

    def spend(self, epsilon: float, delta: float) -> PrivacyAccountant:
        """Enter one release of all points; returns the account of the released sketch."""
        self.spent = {name: (e + epsilon, d + delta) for name, (e, d) in self.spent.items()}
        return PrivacyAccountant("released", dict.fromkeys(self.spent, (epsilon, delta)))

    def __add__(self, other: PrivacyAccountant) -> PrivacyAccountant:
        state = self.state if self.state == other.state else "mixed"
        shared = self.spent.keys() & other.spent.keys()
        spent = self.spent | other.spent
        for name in shared:
            (epsilon, delta), (more_epsilon, more_delta) = self.spent[name], other.spent[name]
            spent[name] = (epsilon + more_epsilon, delta + more_delta)
        return PrivacyAccountant(state, spent, self.repeated or other.repeated or bool(shared))

    def copy(self) -> PrivacyAccountant:
        """A copy with entries of its own."""
        return PrivacyAccountant(self.state, dict(self.spent), self.repeated)

    def to_arrays(self) -> Arrays:
        """The parts that a file keeps: name -> array."""
        return {
            "state": self.state,
            "identities": np.array(list(self.spent), "U32"),
            "spent": np.array(list(self.spent.values()), np.float64).reshape(-1, 2),
            "repeated": np.bool_(self.repeated),
        }

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> PrivacyAccountant:
        """The account whose `to_arrays` gave `arrays`; ValueError if they are damaged."""
        state = str(arrays.get("state"))
        names = np.asarray(arrays.get("identities"))
        spent = np.asarray(arrays.get("spent"))
        repeated = np.asarray(arrays.get("repeated"))
        if (
            state not in STATES
            or names.dtype.kind != "U"
            or names.ndim != 1
            or len(set(names.tolist())) != len(names)
            or spent.dtype.kind != "f"
            or spent.shape != (len(names), 2)
            or not np.isfinite(spent).all()
            or (spent < 0).any()
            or repeated.dtype.kind != "b"
            or repeated.ndim != 0
        ):
            raise ValueError("not a sketch: its account of privacy is damaged")
        pairs = map(tuple, spent.tolist())
        return cls(state, dict(zip(names.tolist(), pairs, strict=True)), bool(repeated))
