"""The commands: parse, call, print.

Rules of this package: figures go to standard output, everything else to standard error. Exit status: 0 success, 1 failure, 2 wrong usage, 130
interrupted. A command's module is imported only when the command runs, so `--help` is fast. Nothing here judges or counts.
"""
