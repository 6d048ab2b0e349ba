"""Data sets, read part by part.

`sources` divides arrays, memory maps, iterables and folders of images into parts that come in a
fixed order; `readers` opens files; `patches` cuts images into patches and puts them together again;
`datasets` has small examples with a known distribution.
"""
