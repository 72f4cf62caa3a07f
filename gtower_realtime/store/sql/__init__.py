"""The store in SQLite or PostgreSQL.

`schema` has the tables, `statements` the SQL, `batches` puts changes together, `store` does the
transactions; `sqlite` and `postgresql` are what differs between the two.
"""
