"""An Engine.IO v4 server on Tornado: the transport under python-socketio, safe from any client.

`protocol` reads and writes packets, `session` is one connection without I/O, `websocket` and
`polling` are its two transports, `server` holds the sessions and is what python-socketio talks to.
"""
