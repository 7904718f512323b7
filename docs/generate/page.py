"""Pages of documentation with generated sections, each between `<!-- NAME -->` and `<!-- /NAME -->`."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
"""The repository."""


def with_sections(page: str, sections: Mapping[str, str]) -> str:
    """The page with these sections (name -> text) in place of its own.

    Raises:
        ValueError: the page has no such section.
    """
    for name, text in sections.items():
        opening, closing = f"<!-- {name} -->\n", f"<!-- /{name} -->\n"
        before, opened, rest = page.partition(opening)
        _, closed, after = rest.partition(closing)
        if not opened or not closed:
            raise ValueError(f"the page has no section {name}: put it between <!-- {name} --> and <!-- /{name} -->")
        page = f"{before}{opening}{text}{closing}{after}"
    return page


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    return "".join(
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |\n"
        for row in (head, ["---"] * len(head), *rows)
    )
