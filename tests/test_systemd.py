import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from gtower_realtime.systemd import ServiceManager
from tests.service_manager import FakeServiceManager


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FakeServiceManager]:
    """Give a manager that listens, on each kind of socket."""
    is_abstract = request.param == "abstract"
    fake = (
        FakeServiceManager(f"@gtower-test-{secrets.token_hex(8)}")
        if is_abstract
        else FakeServiceManager.beneath(tmp_path)
    )
    yield fake
    fake.close()


def test_each_word_is_one_datagram(manager: FakeServiceManager) -> None:
    told = ServiceManager(manager.address)
    told.ready("active: 0 clients")
    told.status("active: 1 client")
    told.alive()
    told.stopping("draining: 1 client")
    told.extend_timeout(12.5)
    assert manager.waiting() == [
        {"READY": "1", "STATUS": "active: 0 clients"},
        {"STATUS": "active: 1 client"},
        {"WATCHDOG": "1"},
        {"STOPPING": "1", "STATUS": "draining: 1 client"},
        {"EXTEND_TIMEOUT_USEC": "12500000"},
    ]


def test_a_reload_says_when_it_began(manager: FakeServiceManager) -> None:
    told = ServiceManager(manager.address)
    told.reloading()
    told.reloading()
    first, second = manager.waiting()
    assert first["RELOADING"] == second["RELOADING"] == "1"
    assert 0 < int(first["MONOTONIC_USEC"]) <= int(second["MONOTONIC_USEC"])


def test_nobody_is_told_without_a_socket() -> None:
    manager = ServiceManager.from_environment({})
    manager.ready("active")
    assert manager.watchdog_seconds is None


def test_a_manager_that_is_gone_does_not_matter(tmp_path: Path) -> None:
    ServiceManager(str(tmp_path / "gone")).ready("active")


def test_the_variables_are_taken_out_of_the_environment() -> None:
    environ = {
        "NOTIFY_SOCKET": "/run/nobody",
        "WATCHDOG_USEC": "3000000",
        "WATCHDOG_PID": str(os.getpid()),
        "HOME": "/",
    }
    assert ServiceManager.from_environment(environ).watchdog_seconds == 3.0
    assert environ == {"HOME": "/"}


@pytest.mark.parametrize(
    ("variables", "seconds"),
    [
        ({"WATCHDOG_USEC": "500000"}, 0.5),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_is_fed_only_by_whom_it_watches(
    variables: dict[str, str], seconds: float | None
) -> None:
    assert ServiceManager.from_environment(variables).watchdog_seconds == seconds


def test_a_socket_of_another_kind_is_left_alone() -> None:
    ServiceManager.from_environment({"NOTIFY_SOCKET": "vsock:2:1"}).ready("active")
