"""Write the documents that are made: the reference, the table of real bugs, the disputes. Tests compare them."""

from pathlib import Path

from nostale.cli.common import write_whole
from nostale.cli.prove import default_means, run
from nostale.report import page_to_markdown
from nostale.systems.catalogue import SYSTEMS
from nostale.systems.claims import read_reconstructed
from nostale.systems.documents import documents
from nostale.systems.names import model_name
from nostale.systems.pages import reference

DOCS = Path(__file__).parent


def main() -> None:
    means = default_means()
    made = {f"reference/{name}": page_to_markdown(page) for name, page in reference()}
    sources = read_reconstructed((DOCS.parent / "tests/lint/bugs/bugs.toml").read_text())
    made |= dict(documents(SYSTEMS, lambda model: run(model, model_name(type(model)), means), sources))
    for gone in {f"reference/{path.name}" for path in (DOCS / "reference").glob("*.md")} - set(made):
        (DOCS / gone).unlink()
    for name, text in made.items():
        target = DOCS / name
        if not target.exists() or target.read_text() != text:
            target.parent.mkdir(exist_ok=True)
            write_whole(target, text)
            print(f"written: docs/{name}")


if __name__ == "__main__":
    main()
