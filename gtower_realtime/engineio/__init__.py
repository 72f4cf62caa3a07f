"""An Engine.IO v4 server on Tornado: the transport under python-socketio, safe from any client.

`frames` and `protocol` read and write what is on the wire, `session` is one connection, all three
without I/O. `handshake` judges requests; `polling` and `websocket` are the two transports,
`websocket_handshake` is the way into the latter. `server` holds the sessions and is what
python-socketio talks to; `deadlines` and `eager` spare it a task per connection and message.
"""
