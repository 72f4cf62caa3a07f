"""The store in SQLite or PostgreSQL, and the archive that the nodes of a cluster share.

`schema` has the tables, `events` and `statements` the SQL, `calls` bounds the time, `batches` puts
changes together, `store` does the transactions; `sqlite` and `postgresql` are what differs between
the two. `archive` has tables of its own, and needs no process that is alone.
"""
