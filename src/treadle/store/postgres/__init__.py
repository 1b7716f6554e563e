"""The PostgreSQL store: many machines share one database.

Which file answers which question: `store` (the contract's verbs), `enqueue`, `exchange` (settle
and claim: the hot path), `workers`, `rescue`, `upkeep`, `reads`, `control`, `schema`
(migrations); `news/` hears of what others write; `queries/*.sql` holds every statement, `engine/`
what they stand on.
"""
