"""The unit files: what systemd itself says of them, and that their words are ours."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from gtower_realtime import unit_files
from gtower_realtime.cli import main
from gtower_realtime.settings import rows
from tests.conftest import requires_binary

ROOT = Path(__file__).parent.parent
DEPLOYED = ROOT / "deploy" / "systemd"
# Where docs/operations.md installs it.
EXECUTABLE = Path("/opt/gtower-realtime/bin/gtower-realtime")
HERE = Path(sys.executable).parent / "gtower-realtime"

UNITS = (
    ([], ".service"),
    (["--socket"], ".socket"),
    (["--template"], "@.service"),
    (["--target"], ".target"),
)

systemd_analyze = requires_binary("systemd-analyze", package="systemd")


def values_of(unit: str, name: str) -> list[str]:
    """Return what a unit says of a name, each time."""
    return re.findall(rf"^{name}=(.*)$", unit, re.MULTILINE)


@pytest.fixture
def units(tmp_path: Path) -> list[Path]:
    """Give the files that the command makes for this installation."""
    files = []
    for arguments, suffix in UNITS:
        file = tmp_path / f"gtower-realtime{suffix}"
        result = CliRunner().invoke(main, ["systemd-unit", *arguments])
        assert result.exit_code == 0
        file.write_text(result.stdout)
        files.append(file)
    return files


def test_the_files_of_the_repository_are_those_that_the_command_makes() -> None:
    made = {
        "gtower-realtime.service": unit_files.service(EXECUTABLE),
        "gtower-realtime.socket": unit_files.socket(EXECUTABLE),
        "gtower-realtime@.service": unit_files.template(EXECUTABLE),
        "gtower-realtime.target": unit_files.target(EXECUTABLE),
    }
    assert {file.name: file.read_text() for file in DEPLOYED.iterdir()} == made


def test_systemd_finds_nothing_wrong_with_them(systemd_analyze: str, units: list[Path]) -> None:
    checked = subprocess.run(
        [systemd_analyze, "verify", "--man=no", *units], capture_output=True, text=True, check=False
    )
    complaints = [line for line in checked.stderr.splitlines() if "gtower" in line]
    assert (checked.returncode, complaints) == (0, [])


@pytest.mark.parametrize("name", ["gtower-realtime.service", "gtower-realtime@.service"])
def test_the_sandbox_scores_below_two(systemd_analyze: str, name: str) -> None:
    file = DEPLOYED / name
    checked = subprocess.run(
        [systemd_analyze, "security", "--offline=true", "--threshold=20", "--no-pager", file],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Overall exposure level" in checked.stdout
    assert checked.returncode == 0, checked.stdout


def test_one_of_several_differs_from_a_single_one_by_what_its_port_is_in(
    units: list[Path],
) -> None:
    alone, several = (
        [line for line in units[index].read_text().splitlines() if not line.startswith("#")]
        for index in (0, 2)
    )
    assert [line for line in alone if line not in several] == [
        "Description=GTower Realtime: Socket.IO for browsers, an HTTP API for back-ends",
        "StateDirectory=gtower-realtime",
        "WantedBy=multi-user.target",
    ]
    assert [line for line in several if line not in alone] == [
        "Description=GTower Realtime on port %i",
        "PartOf=gtower-realtime.target",
        "Environment=GTOWER_PORT=%i",
        "StateDirectory=gtower-realtime-%i",
        "WantedBy=gtower-realtime.target",
    ]


def test_the_service_runs_what_is_installed_here(units: list[Path]) -> None:
    [command] = values_of(units[0].read_text(), "ExecStart")
    assert command == f"{HERE} serve"
    assert HERE.exists()


def test_each_secret_can_be_a_credential(units: list[Path]) -> None:
    secrets = [row.name.removeprefix("GTOWER_").lower() for row in rows() if row.is_secret]
    assert values_of(units[0].read_text(), "LoadCredential") == [
        f"{secret}:gtower-realtime.{secret}" for secret in secrets
    ]


def test_what_the_service_sets_are_settings(units: list[Path]) -> None:
    known = {row.name for row in rows()}
    for unit in (units[0], units[2]):
        set_by_it = values_of(unit.read_text(), "Environment")
        assert set_by_it
        assert {each.partition("=")[0] for each in set_by_it} <= known


@pytest.mark.parametrize("arguments", [[], ["--template"]])
def test_an_installation_that_the_service_cannot_see_is_warned_of(arguments: list[str]) -> None:
    place = "/home/ann/.venv/bin/gtower-realtime"
    result = CliRunner().invoke(main, ["systemd-unit", *arguments, "--executable", place])
    assert result.exit_code == 0
    assert f"ExecStart={place} serve\n" in result.stdout
    assert result.stderr == "Warning: the service cannot see /home; install into /opt.\n"
