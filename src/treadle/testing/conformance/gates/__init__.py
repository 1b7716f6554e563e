"""What gates promise.

`places`, `rates`, `windows` and `breakers` are about what each kind bounds, `kinds` about a name
that comes to mean another one. `exits` has the ways out of a gate, `full` what becomes of a job
that finds no place, `holds` who passes without a job, `tasks` pauses of whole tasks, `control` the
rest of what people do to gates.
"""
