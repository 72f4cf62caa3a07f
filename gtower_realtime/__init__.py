"""GTower Realtime: a self-hosted Socket.IO server with an HTTP trigger API."""

__version__ = "0.1.0"
