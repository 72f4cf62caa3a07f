"""The HTTP edge: Tornado request handlers that validate, call the service and reply."""
