"""Data sets, read part by part.

`sources` divides arrays, memory maps, iterables and signals into parts that come in a fixed order;
`readers` opens folders of signals; `signal_files` opens, reads and writes files of one signal, in
the formats of `image_formats`, `tiff_formats`, `sound_formats` and `npy_files`; `signals` checks
the axes of signals in memory; `patches` cuts them into patches and puts them together again, in the
coordinates of `patch_transform`; `datasets` has small examples with a known distribution.
"""
