"""`systemd-unit`: the unit files for this installation."""

import sys
from collections.abc import Callable
from pathlib import Path

import click

from gtower_realtime import unit_files

# The service sees nothing in there.
_HIDDEN = (Path("/home"), Path("/root"), Path("/tmp"), Path("/var/tmp"))  # noqa: S108

_SERVICES = {None: unit_files.service, "template": unit_files.template}
_UNITS = {**_SERVICES, "socket": unit_files.socket, "target": unit_files.target}


@click.command("systemd-unit", short_help="Print the systemd units for this installation.")
@click.option("--socket", "unit", flag_value="socket", help="The socket's unit instead.")
@click.option("--template", "unit", flag_value="template", help="That of one of several processes.")
@click.option("--target", "unit", flag_value="target", help="That of all of the several.")
@click.option(
    "--executable",
    type=click.Path(path_type=Path),
    help="The command that the service runs; by default that of this installation.",
)
def systemd_unit(*, unit: str | None, executable: Path | None) -> None:
    """Print the systemd unit of the service, or one that goes with it; see docs/operations.md."""
    needed = [executable] if executable else [Path(sys.prefix), Path(sys.base_prefix)]
    executable = executable or Path(sys.executable).parent / unit_files.NAME
    click.echo(_UNITS[unit](executable), nl=False)
    hidden = [str(place) for place in _HIDDEN if any(map(_is_in(place), needed))]
    if hidden and unit in _SERVICES:
        places = " and ".join(hidden)
        click.echo(f"Warning: the service cannot see {places}; install into /opt.", err=True)


def _is_in(place: Path) -> Callable[[Path], bool]:
    return lambda path: path.is_relative_to(place)
