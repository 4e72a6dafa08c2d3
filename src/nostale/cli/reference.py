"""Write docs/reference anew: `python -m nostale.cli.reference docs/reference`, which is `make reference`."""

from __future__ import annotations

import sys
from pathlib import Path

from nostale.cli.common import write_whole
from nostale.report import page_to_markdown
from nostale.systems.pages import reference


def main(directory: Path) -> None:
    """Write every page, and remove those of contracts that are gone."""
    directory.mkdir(parents=True, exist_ok=True)
    written = {name: page_to_markdown(page) for name, page in reference()}
    for stale in {path.name for path in directory.glob("*.md")} - set(written):
        (directory / stale).unlink()
    for name, text in written.items():
        write_whole(directory / name, text)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
