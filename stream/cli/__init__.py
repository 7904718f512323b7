"""The commands: parse, call, print.

Rules of this room: figures go to standard output, everything else to standard error. Exit status: 0 well, 1 failed, 2 wrong usage, 130
interrupted. A command's module is imported when the command is asked for, so that `--help` answers at once. Nothing here judges or counts.
"""
