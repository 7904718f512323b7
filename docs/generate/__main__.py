"""Write all generated documentation, or with `--check` fail if a file is stale."""

import argparse
import sys

from docs.generate import alerts, configuration, metrics, schemas
from docs.generate.page import ROOT


def main(arguments: list[str] | None = None) -> None:
    """Run the generators; exit status 1 if `--check` finds a stale file."""
    parser = argparse.ArgumentParser(prog="python -m docs.generate", description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="write nothing; name the stale files and exit with status 1"
    )
    check = parser.parse_args(arguments).check
    wanted = {**alerts.files(), **configuration.files(), **metrics.files(), **schemas.files()}
    obsolete = schemas.obsolete()
    if not check:
        for path, text in wanted.items():
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        for path in obsolete:
            path.unlink()
        return
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if stale or obsolete:
        names = "".join(f"\n  {path.relative_to(ROOT)}" for path in sorted((*stale, *obsolete)))
        sys.exit(f"these files are stale; run `make generate`:{names}")


if __name__ == "__main__":
    main()
