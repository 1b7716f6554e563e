"""The SQLite store: one file, or memory, carries the whole line.

Which file answers which question: `store` (the contract's verbs, one line each), `enqueue`,
`exchange` (settle and claim: the hot path), `workers`, `rescue`, `upkeep`, `reads`, `control`,
`schema` (migrations); `queries/*.sql` holds every statement, `engine/` what they stand on.
"""
