"""The unit files of systemd: the service and its socket; several processes, and what starts all.

Sources: systemd.unit(5), systemd.service(5), systemd.exec(5), systemd.socket(5), of version 252 and
later.
"""

from collections.abc import Mapping
from pathlib import Path
from string import Template

from gtower_realtime.settings import PREFIX, rows

NAME = "gtower-realtime"

_SERVICE = Template("""\
$heading

[Unit]
$unit
# Only an order; what is not installed does not matter.
After=network.target postgresql.service redis-server.service
# A store that is away may be so for long: it is tried again for ever.
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
ExecStart=$executable serve
ExecReload=/bin/kill -HUP $$MAINPID
Environment=GTOWER_SETTINGS_FILE=%E/$name/settings.env$environment
TimeoutStartSec=5min
# The server asks for more by itself while it lets clients go.
TimeoutStopSec=30
WatchdogSec=30
Restart=always
RestartSec=1
# 78: the settings are wrong, and will be so at the next start.
RestartPreventExitStatus=78
# One for each connection and a few more; the server takes what it needs of it.
LimitNOFILE=524288

$belongings
DynamicUser=yes
ConfigurationDirectory=$name
StateDirectory=$state
StateDirectoryMode=0700
UMask=0077

# Secrets: files of these names in /etc/credstore, for root's eyes only. None has to be there.
$credentials

# What it cannot do.
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
LockPersonality=yes
MemoryDenyWriteExecute=yes
PrivateDevices=yes
PrivateTmp=yes
PrivateUsers=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHome=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
ProtectSystem=strict
RemoveIPC=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallErrorNumber=EPERM
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources

[Install]
WantedBy=$wanted_by
""")

_ALONE = {
    "heading": """\
# Made by: $executable systemd-unit
# Changes belong into a drop-in: systemctl edit $name.service""",
    "unit": "Description=GTower Realtime: Socket.IO for browsers, an HTTP API for back-ends",
    "environment": "",
    "belongings": "# Who it is, and what is its own: /etc/$name and /var/lib/$name.",
    "state": "$name",
    "wanted_by": "multi-user.target",
}

_ONE_OF_SEVERAL = {
    "heading": """\
# Made by: $executable systemd-unit --template
# One of several processes, named by its port: systemctl enable --now $name@3001
# Changes belong into a drop-in: systemctl edit $name@3001, or $name@.service for all.""",
    "unit": """\
Description=GTower Realtime on port %i
# Started, stopped and restarted with all others; each by itself as well.
PartOf=$name.target""",
    "environment": "\nEnvironment=GTOWER_PORT=%i",
    "belongings": """\
# Who it is, what it shares, /etc/$name, and what is its own: /var/lib/$name-3001.""",
    "state": "$name-%i",
    "wanted_by": "$name.target",
}

_TARGET = Template("""\
# Made by: $executable systemd-unit --target
#
# Starting, stopping and restarting it does so to each process that is enabled.

[Unit]
Description=All processes of GTower Realtime

[Install]
WantedBy=multi-user.target
""")

_SOCKET = Template("""\
# Made by: $executable systemd-unit --socket
# Changes belong into a drop-in: systemctl edit $name.socket
#
# systemd holds this socket over restarts: what connects meanwhile waits, and is served. It takes
# the place of GTOWER_HOST and GTOWER_PORT.

[Unit]
Description=The socket of GTower Realtime

[Socket]
# Without API keys the server starts on loopback addresses and unix sockets only. An empty
# ListenStream= in a drop-in takes this one away; [::]:3000 is every address of both families,
# /run/$name.sock a unix socket (with SocketMode=0660 and SocketGroup= of the proxy).
ListenStream=127.0.0.1:3000
Backlog=4096
NoDelay=yes

[Install]
WantedBy=sockets.target
""")


def service(executable: Path) -> str:
    """Return the service unit for an installation whose command is ``executable``."""
    return _service(executable, _ALONE)


def template(executable: Path) -> str:
    """Return the unit of which each of several processes is an instance, named by its port."""
    return _service(executable, _ONE_OF_SEVERAL)


def target(executable: Path) -> str:
    """Return the unit that starts and stops all instances of the template that are enabled."""
    return _TARGET.substitute(name=NAME, executable=executable)


def socket(executable: Path) -> str:
    """Return the unit of the socket that the service may be started with."""
    return _SOCKET.substitute(name=NAME, executable=executable)


def _service(executable: Path, differences: Mapping[str, str]) -> str:
    secrets = [row.name.removeprefix(PREFIX).lower() for row in rows() if row.is_secret]
    known = {
        "name": NAME,
        "executable": str(executable),
        "credentials": "\n".join(f"LoadCredential={each}:{NAME}.{each}" for each in secrets),
    }
    parts = {name: Template(text).substitute(known) for name, text in differences.items()}
    return _SERVICE.substitute(known, **parts)
