"""The command line: the package's own functions on files.

`main` has the parser and turns errors into one line, `commands` has what each command does. `demo`
and `bench` are the two commands that are programs of their own.
"""
