"""Several processes as one server: one log for all of them, in a Redis stream."""
