"""`make bench`: GTower Realtime beside Node's socket.io and stock python-socketio."""
