"""Socket.IO: python-socketio's server made strict, its rooms indexed, bound to the service."""
