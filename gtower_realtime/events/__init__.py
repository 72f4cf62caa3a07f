"""The two tables of events: what the server says, and what clients may say."""
