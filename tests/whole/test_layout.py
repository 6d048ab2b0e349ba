"""What may import what: a wing imports only what stands left of it, and nobody imports a face."""

import ast
from pathlib import Path

import fastcl

ROOT = Path(fastcl.__file__).parent
GROUND = ("backend", "validation", "files", "progress", "locks")
FACES = ("storage", "estimators", "plots", "cli", "__init__", "__main__")
# From left to right. Modules of the ground may import each other, and so may faces; fourier and
# measures may not.
ORDER = [
    ("kernels",),
    GROUND,
    ("fourier", "measures"),
    ("data",),
    ("sketching",),
    ("priors",),
    ("learning",),
    ("denoising",),
    FACES,
]
RANK = {room: rank for rank, rooms in enumerate(ORDER) for room in rooms}


def rooms_of_imports():
    """Pairs (room, another room that one of its modules imports)."""
    pairs = set()
    for path in ROOT.rglob("*.py"):
        place = path.relative_to(ROOT).with_suffix("").parts
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.level:
                base = place[: len(place) - node.level]
                names = [node.module] if node.module else [alias.name for alias in node.names]
                rooms = {[*base, *name.split(".")][0] for name in names}
                pairs |= {(place[0], room) for room in rooms & RANK.keys() if room != place[0]}
    return pairs


def is_allowed(one, other):
    return RANK[other] < RANK[one] or any(
        one in rooms and other in rooms for rooms in (GROUND, FACES)
    )


def test_every_module_lives_in_a_room():
    assert {
        path.name.removesuffix(".py") for path in ROOT.iterdir() if path.suffix == ".py"
    } <= RANK.keys()
    assert {
        path.name for path in ROOT.iterdir() if path.is_dir() and path.name != "__pycache__"
    } <= RANK.keys()


def test_rooms_import_only_what_stands_left_of_them():
    pairs = rooms_of_imports()
    assert ("denoising", "kernels") not in pairs
    assert {("learning", "priors"), ("backend", "kernels"), ("cli", "denoising")} <= pairs
    assert [pair for pair in sorted(pairs) if not is_allowed(*pair)] == []
