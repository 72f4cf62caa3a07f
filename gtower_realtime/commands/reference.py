"""`reference`: the tables of the documentation."""

from pathlib import Path

import click

from gtower_realtime import reference


@click.command("reference", short_help="Print the tables of the documentation.")
@click.option(
    "--into",
    "document",
    type=click.Path(exists=True, dir_okay=False, writable=True, path_type=Path),
    help="Renew the tables between the markers of this file instead.",
)
def show_reference(document: Path | None) -> None:
    """Print the tables of events, endpoints, errors and settings in Markdown."""
    if document is None:
        click.echo("\n".join(reference.sections().values()), nl=False)
        return
    text = document.read_text(encoding="utf-8")
    document.write_text(reference.replace_sections(text), encoding="utf-8")
