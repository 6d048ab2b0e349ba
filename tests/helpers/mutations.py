"""Damaged copies of files: flipped or lost bytes, other members, other headers or values."""

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
    """A .npy file, as bytes, with this text as its header."""
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + body


def damage_bytes(content, rng):
    """`content` with bits flipped, bytes lost or repeated, or a 32-bit number overwritten."""
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
    """The members of an archive: name -> bytes."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def pack(members, compression=zipfile.ZIP_STORED):
    """An archive, as bytes, of pairs (name, bytes)."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in members:
            info = zipfile.ZipInfo(name)
            info.compress_type = compression
            archive.writestr(info, data)
    return buffer.getvalue()


def as_npy(array):
    """A .npy file, as bytes, of the array."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def damage_archive(content, rng):
    """The archive with one change: a member lost, renamed, swapped, nested, or written anew."""
    members = members_of(content)
    names, kind = list(members), rng.integers(9)
    name, other = (str(name) for name in rng.choice(names, 2))
    if kind == 0:
        del members[name]
    elif kind == 1:
        names = ["../evil.npy", "/etc/evil.npy", "", "x" * 300, f"{name}.npy", "\u0436.npy"]
        members[str(rng.choice(names))] = members.pop(name)
    elif kind == 2:
        members[name], members[other] = members[other], members[name]
    elif kind == 3:
        members[name] = content
    elif kind == 4:
        compressions = [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
        return pack(members.items(), int(rng.choice(compressions)))
    elif kind == 5:
        members[name] = npy(str(rng.choice(HEADERS)), members[name][-int(rng.integers(1, 200)) :])
    elif kind == 6:
        members[name] = damage_bytes(members[name], rng)
    else:
        members[name] = as_npy(damage_array(np.load(io.BytesIO(members[name])), rng))
    return pack(members.items())


@np.errstate(all="ignore")
def damage_array(array, rng):
    """The array with another shape, type, order or value."""
    kind = rng.integers(6)
    if kind == 0:
        return np.asarray(STRANGE[rng.integers(len(STRANGE))])
    if kind == 1:
        if rng.integers(2):
            return array[..., None]
        return array.ravel()[: rng.integers(array.size + 1)]
    if kind == 2:
        if array.dtype.kind in "US":
            return array
        array = array.real if array.dtype.kind == "c" else array
        return array.astype(str(rng.choice(["f2", ">f8", "c16", "U9", "S3", "?", "O", "i1"])))
    if kind == 3 and array.dtype.kind in "iufc" and array.size:
        changed = array.copy()
        with np.errstate(all="ignore"):
            value = np.array(rng.choice([0, -1, 2.0**62, 1e300, 1e-300]))
            changed.ravel()[rng.integers(array.size)] = value.astype(array.dtype)
        return changed
    if kind == 4 and array.dtype.kind in "fc" and array.size:
        with np.errstate(all="ignore"):
            return (array * rng.choice([0, -1, np.nan, np.inf, 1e300, 1e-300])).astype(array.dtype)
    return np.concatenate([np.atleast_1d(array), np.atleast_1d(array)])
