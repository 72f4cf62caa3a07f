"""docs/operations.md against the units, the settings and the program."""

import os
import re
import subprocess
import sys
from pathlib import Path

from gtower_realtime import unit_files
from gtower_realtime.settings import Settings, rows

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
EXECUTABLE = Path("/opt/gtower-realtime/bin/gtower-realtime")


def block(language: str, containing: str = "") -> str:
    """Return the one block of a language that has ``containing`` in it."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.M | re.S)
    (found,) = [text for text in blocks if containing in text]
    return str(found)


def test_the_settings_file_of_the_page_is_good(tmp_path: Path) -> None:
    file = tmp_path / "settings.env"
    file.write_text(block("sh", "GTOWER_CORS_ORIGIN"))
    settings = Settings.load({"GTOWER_SETTINGS_FILE": str(file)})
    assert settings.warnings == ()
    assert settings.cors_origin == ("https://crm.example.com",)
    assert [key.name for key in settings.api_keys] == ["crm"]


def test_the_check_of_the_page_works(tmp_path: Path) -> None:
    file = tmp_path / "settings.env"
    file.write_text(block("sh", "GTOWER_CORS_ORIGIN"))
    command = block("text", "check-config").replace("/etc/gtower-realtime/settings.env", str(file))
    here = Path(sys.executable).parent / "gtower-realtime"
    checked = subprocess.run(
        ["sh", "-c", command.replace(str(EXECUTABLE), str(here))],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (checked.returncode, checked.stdout.splitlines()[-1]) == (0, "The settings are valid.")


def test_the_places_of_the_page_are_those_of_the_units() -> None:
    service = unit_files.service(EXECUTABLE)
    assert f"ExecStart={EXECUTABLE} serve\n" in service
    assert "Environment=GTOWER_SETTINGS_FILE=%E/gtower-realtime/settings.env\n" in service
    assert "mkdir -p /etc/gtower-realtime\n" in PAGE
    assert "StateDirectory=gtower-realtime\n" in service
    credentials = set(re.findall(r"gtower-realtime\.((?!service|socket)[a-z_]+)`", PAGE))
    secrets = {row.name.removeprefix("GTOWER_").lower() for row in rows() if row.is_secret}
    assert credentials
    assert credentials <= secrets


def test_the_copied_files_are_there() -> None:
    (copied,) = re.findall(r"^cp (.*) /etc/systemd/system/$", PAGE, re.M)
    assert all((ROOT / file).is_file() for file in copied.split())
