import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).with_name("conftest.py")

NEEDS_A_PROGRAM = """
from conftest import requires_binary

gone = requires_binary("no-such-program", package="no-such-package")

def test_that_needs_it(no_such_program):
    pass
"""

LEAVES_WORK_BEHIND = """
import asyncio
import pytest

ended = []

async def never_done():
    try:
        await asyncio.Event().wait()
    finally:
        ended.append(True)

@pytest.mark.gen_test
async def test_that_leaves_a_task():
    task = asyncio.create_task(never_done())
    await asyncio.sleep(0)
    assert not task.done()

def test_that_comes_after_it():
    assert ended == [True]
"""


def run_pytest(directory: Path, test: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run ``test`` in ``directory`` with the project's fixtures."""
    (directory / "conftest.py").write_text(CONFTEST.read_text(encoding="utf-8"))
    (directory / "test_it.py").write_text(test)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-rs", "-p", "no:cacheprovider", "-W", "ignore"],
        cwd=directory,
        env={"PATH": "", "PYTHONPATH": str(CONFTEST.parent.parent), **environ},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_test_without_its_program_is_skipped_and_says_what_to_install(tmp_path: Path) -> None:
    result = run_pytest(tmp_path, NEEDS_A_PROGRAM)
    assert result.returncode == pytest.ExitCode.OK
    assert "no-such-program is not on PATH; apt-get install no-such-package" in result.stdout
    assert "1 skipped" in result.stdout


def test_a_test_without_its_program_fails_where_everything_must_be_tested(tmp_path: Path) -> None:
    result = run_pytest(tmp_path, NEEDS_A_PROGRAM, CI="true")
    assert result.returncode == pytest.ExitCode.TESTS_FAILED
    assert "no-such-program is not on PATH; apt-get install no-such-package" in result.stdout


def test_the_loop_of_a_test_ends_what_the_test_left_running(tmp_path: Path) -> None:
    result = run_pytest(tmp_path, LEAVES_WORK_BEHIND)
    assert result.returncode == pytest.ExitCode.OK, result.stdout
    assert "2 passed" in result.stdout
