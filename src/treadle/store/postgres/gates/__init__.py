"""Gates in PostgreSQL.

`line` says what the verbs of the line say for jobs that have gates, `control` is for people and
upkeep; the statements are in `queries/gates.sql`.
"""
