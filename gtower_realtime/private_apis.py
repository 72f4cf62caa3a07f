"""What this program touches in libraries that those do not promise to keep, in one table.

`tests/test_private_apis.py` checks each row against what is installed, and names what has moved
when an upgrade breaks one. Example row:

    PrivateApi("python-socketio", "socketio.AsyncServer", "environ", "gateway: requests")

Beyond these rows: `socketio.AsyncServer` calls its Engine.IO server by the names that
`EngineIOServer` has under "For python-socketio".
"""

from dataclasses import dataclass

CHECKED_VERSIONS = {"python-socketio": "5.18.1", "python-engineio": "4.15.1"}
"""The versions against which every row was read."""


@dataclass(frozen=True, slots=True)
class PrivateApi:
    """``name`` of the class ``owner``, from the package ``distribution``.

    ``parameters`` are those of a method that is overridden or called, without ``self``; None for
    what is no method.
    """

    distribution: str
    owner: str
    name: str
    used_for: str
    parameters: tuple[str, ...] | None = None


_SERVER = "socketio.AsyncServer"
_MANAGER = "socketio.AsyncManager"
_PACKET = "socketio.packet.Packet"

PRIVATE_APIS = (
    PrivateApi(
        "python-socketio", _SERVER, "_engineio_server_class", "gateway: our Engine.IO server", ()
    ),
    PrivateApi(
        "python-socketio",
        _SERVER,
        "_handle_eio_connect",
        "gateway: keeps the request",
        ("eio_sid", "environ"),
    ),
    PrivateApi(
        "python-socketio",
        _SERVER,
        "_handle_eio_message",
        "gateway: strict packets",
        ("eio_sid", "data"),
    ),
    PrivateApi(
        "python-socketio",
        _SERVER,
        "_handle_eio_disconnect",
        "gateway: leaves all namespaces",
        ("eio_sid", "reason"),
    ),
    PrivateApi(
        "python-socketio",
        _SERVER,
        "_handle_connect",
        "gateway: accepted or gone",
        ("eio_sid", "namespace", "data"),
    ),
    PrivateApi(
        "python-socketio",
        _SERVER,
        "_handle_disconnect",
        "gateway: tells each departure once",
        ("eio_sid", "namespace", "reason"),
    ),
    PrivateApi(
        "python-socketio",
        _SERVER,
        "_trigger_event",
        "gateway: calls what `on` has bound",
        ("event", "namespace", "args"),
    ),
    PrivateApi(
        "python-socketio",
        _SERVER,
        "_send_packet",
        "gateway: CONNECT and CONNECT_ERROR",
        ("eio_sid", "pkt"),
    ),
    PrivateApi("python-socketio", _SERVER, "_binary_packet", "gateway: a packet not yet whole"),
    PrivateApi("python-socketio", _SERVER, "environ", "gateway: requests by Engine.IO session"),
    PrivateApi("python-socketio", _SERVER, "packet_class", "gateway: strict packets"),
    PrivateApi("python-socketio", _SERVER, "not_handled", "gateway: an event nobody has bound"),
    PrivateApi(
        "python-socketio",
        _MANAGER,
        "_generate_ack_id",
        "gateway: ids that are never used twice",
        ("sid", "callback"),
    ),
    PrivateApi(
        "python-socketio",
        _MANAGER,
        "pre_connect",
        "gateway: pending clients",
        ("eio_sid", "namespace"),
    ),
    PrivateApi(
        "python-socketio", _PACKET, "decode", "gateway: strict packets", ("encoded_packet",)
    ),
    PrivateApi("python-socketio", _PACKET, "attachment_count", "gateway: packets in parts"),
    PrivateApi("python-socketio", _PACKET, "attachments", "gateway: packets in parts"),
    PrivateApi(
        "python-socketio", _PACKET, "add_attachment", "gateway: packets in parts", ("attachment",)
    ),
    PrivateApi(
        "python-socketio",
        "socketio.AsyncClient",
        "_handle_connect",
        "commands: the id of the session",
        ("namespace", "data"),
    ),
    PrivateApi(
        "python-engineio",
        "engineio.packet.Packet",
        "encode",
        "engineio: packets that python-socketio sends",
        ("b64",),
    ),
)
