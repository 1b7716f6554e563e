"""Gates in SQLite: `book` reads and writes those that a transaction touches, `line` parks and
wakes jobs for the verbs of the line, `upkeep` mends and prunes, `control` is for people.
"""
