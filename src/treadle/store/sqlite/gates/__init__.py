"""Gates in SQLite.

`book` reads and writes those that a transaction touches, `line` parks and wakes jobs for the
verbs of the line, `control` is for people and upkeep. `holds` lets pass who is no job, and `verbs`
are its faces in the contract.
"""
