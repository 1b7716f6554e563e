"""The Redis store: one namespace's keys in one slot of a Redis or Valkey server carry the line.

Which file answers which question: `store` (the verbs of the line), `access` (reads and control),
`rescue` (who is dead), `rows` (what goes into a script and what comes back), `keys` (every key
there is); `scripts/<verb>.lua` is what a verb does, `engine/` what the verbs stand on.
"""
