"""Who has to hear of what the log reads and does, beside the service."""

from typing import Any, Protocol


class Audience(Protocol):
    """What `node.ClusterNode` is for the log."""

    # Of single entries

    def told(self, node: str, event_id: str, recipients: int, asked: list[str]) -> None:
        """Have a process told how many had its event, and who is asked to acknowledge it."""

    def heard(self, node: str, event_id: str, client_id: str, has_acknowledged: bool) -> None:
        """Have a process told that a client has acknowledged its event, or is gone."""

    def message(self, text: str) -> None:
        """Take what another process has put into the inbox."""

    def flush(self) -> None:
        """Send what has been told since the last time."""

    def session_changed(self, client_id: str) -> None:
        """Take note that a session has to be kept anew."""

    def node_started(self, node: str, details: dict[str, Any]) -> None:
        """Take note of a new process, which has to be told who is here."""

    def node_gone(self, node: str) -> None:
        """Take note that a process is dead."""

    # Of the whole

    async def joining(self) -> set[str]:
        """Have the others know of this process; return which there are, this one among them.

        Raises:
            RedisAway: they cannot be told.
        """

    def together(self) -> None:
        """Take note that the others can be told again what has happened here."""

    def cut_off(self) -> None:
        """Take note that nobody can be told anything for now."""

    def introduced(self) -> None:
        """Take note that the others may know nothing of this process: tell them who is here."""

    def is_first(self) -> bool:
        """Say whether this process does what one of all has to do."""

    def describe(self) -> dict[str, Any]:
        """Return what this process tells of itself."""
