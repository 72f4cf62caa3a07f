"""`settings`: what can be set."""

import json

import click

from gtower_realtime.settings import rows


@click.command("settings")
@click.option("--json", "as_json", is_flag=True, help="A JSON array instead of a table.")
def list_settings(*, as_json: bool) -> None:
    """List all settings with their defaults."""
    if as_json:
        click.echo(json.dumps([row._asdict() for row in rows()], indent=2, ensure_ascii=False))
        return
    name_width = max(len(row.name) for row in rows())
    default_width = max(len(row.default) for row in rows())
    for row in rows():
        notes = [
            row.unit,
            f"also {row.also}" if row.also else "",
            "secret" if row.is_secret else "",
            "reload" if row.reloads else "",
        ]
        shown = f" ({', '.join(filter(None, notes))})" if any(notes) else ""
        documentation = f"{row.documentation}{shown}"
        click.echo(f"{row.name:{name_width}}  {row.default:{default_width}}  {documentation}")
