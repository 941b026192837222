"""The outbox relay: publishes every database's outbox to Kafka, in order per key, each event at least once.

`process` runs one `loop` per database. The loop executes moves; `moves` decides which one is next, from what `state`
knows. `database` has the SQL, `batches` makes Kafka batches of rows.
"""
