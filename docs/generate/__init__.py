"""Generators of documentation, outside the runtime package: `python -m docs.generate` writes, with `--check` it compares.

Rules: each module has `files()`, which returns the complete text of each file that it makes. Nothing else in those files' generated parts is edited.
"""
