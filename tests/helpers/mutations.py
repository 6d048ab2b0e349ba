"""Damage to files: bytes flipped, cut and spliced, archives with other members, arrays with other headers or values."""

import io
import struct
import zipfile

import numpy as np

STRANGE = [
    np.nan,
    np.inf,
    -1,
    0,
    2**31,
    2**62,
    -(2**63),
    1e300,
    True,
    "text",
    "",
    b"bytes",
    1j,
    [],
    [[1.0]],
    np.datetime64(0, "s"),
]
HEADERS = [
    "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }",
    "{'descr': '<f8', 'fortran_order': True, 'shape': (4294967296, 4294967296), }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (-1, 2), }",
    "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
    "{'descr': [('a', '<f8'), ('b', '<i4')], 'fortran_order': False, 'shape': (2,), }",
    "{'descr': '<f8', 'fortran_order': True, 'shape': (2, 2), }",
    "{'descr': '|V0', 'fortran_order': False, 'shape': (100000000000,), }",
    "{'descr': '<U0', 'fortran_order': False, 'shape': (100000000000,), }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (0, 100000000000), }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': " + "(" * 150 + ")" * 150 + ", }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (True, 1.5), }",
    "{'descr': '<f8'}",
    "[]",
]


def npy(header, body=b"\0" * 32):
    """The bytes of a .npy file with this text as its header."""
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + body


def damage_bytes(content, rng):
    """`content` with bits flipped, cut, a piece moved or repeated, or small numbers written over."""
    data, kind = bytearray(content), rng.integers(5)
    a, b = sorted(rng.integers(0, len(data) + 1, 2).tolist())
    if kind == 0:
        for place in rng.integers(0, len(data), rng.integers(1, 9)):
            data[place] ^= 1 << rng.integers(8)
    elif kind == 1:
        del data[a:]
    elif kind == 2:
        del data[a : min(b, a + 64)]
    elif kind == 3:
        place = rng.integers(0, len(data))
        data[place:place] = data[a : min(b, a + 256)]
    else:
        place = int(rng.integers(0, len(data)))
        data[place : place + 4] = struct.pack("<I", rng.choice([0, 1, 0xFFFFFFFF, 0x7FFFFFFF]))
    return bytes(data)


def members_of(content):
    """name -> bytes of the members of an archive."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def pack(members, compression=zipfile.ZIP_STORED):
    """The bytes of an archive of (name, bytes)."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in members:
            info = zipfile.ZipInfo(name)
            info.compress_type = compression
            archive.writestr(info, data)
    return buffer.getvalue()


def as_npy(array):
    """The bytes of an array in a .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def damage_archive(content, rng):
    """An archive with a member left out, renamed, swapped, nested, compressed, or with another header or array."""
    members = members_of(content)
    names, kind = list(members), rng.integers(9)
    name, other = (str(name) for name in rng.choice(names, 2))
    if kind == 0:
        del members[name]
    elif kind == 1:
        members[
            str(
                rng.choice(
                    ["../evil.npy", "/etc/evil.npy", "", "x" * 300, f"{name}.npy", "\u0436.npy"]
                )
            )
        ] = members.pop(name)
    elif kind == 2:
        members[name], members[other] = members[other], members[name]
    elif kind == 3:
        members[name] = content
    elif kind == 4:
        return pack(
            members.items(),
            int(rng.choice([zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])),
        )
    elif kind == 5:
        members[name] = npy(str(rng.choice(HEADERS)), members[name][-int(rng.integers(1, 200)) :])
    elif kind == 6:
        members[name] = damage_bytes(members[name], rng)
    else:
        members[name] = as_npy(damage_array(np.load(io.BytesIO(members[name])), rng))
    return pack(members.items())


@np.errstate(all="ignore")
def damage_array(array, rng):
    """Another array: of another shape, type or order, or with a strange value."""
    kind = rng.integers(6)
    if kind == 0:
        return np.asarray(STRANGE[rng.integers(len(STRANGE))])
    if kind == 1:
        return (
            array[..., None] if rng.integers(2) else array.ravel()[: rng.integers(array.size + 1)]
        )
    if kind == 2:
        array = array.real if array.dtype.kind == "c" else array
        return (
            array.astype(str(rng.choice(["f2", ">f8", "c16", "U9", "S3", "?", "O", "i1"])))
            if array.dtype.kind not in "US"
            else array
        )
    if kind == 3 and array.dtype.kind in "iufc" and array.size:
        changed = array.copy()
        with np.errstate(all="ignore"):
            changed.ravel()[rng.integers(array.size)] = np.array(
                rng.choice([0, -1, 2.0**62, 1e300, 1e-300])
            ).astype(array.dtype)
        return changed
    if kind == 4 and array.dtype.kind in "fc" and array.size:
        with np.errstate(all="ignore"):
            return (array * rng.choice([0, -1, np.nan, np.inf, 1e300, 1e-300])).astype(array.dtype)
    return np.concatenate([np.atleast_1d(array), np.atleast_1d(array)])
