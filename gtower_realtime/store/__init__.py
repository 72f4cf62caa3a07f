"""The event log's implementations."""
