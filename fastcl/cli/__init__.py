"""The command line: the package's own functions on files.

`main` parses and runs the commands; `demo` and `bench` are the two that are programs of their own.
"""
