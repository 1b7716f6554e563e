"""Gates in PostgreSQL.

`line` says what the verbs of the line say for jobs that have gates, `ample` says it shorter where
there is room for all, `holds` is for who passes a gate without a job, `control` for people and
upkeep; the statements are in `queries/gates/`.
"""
