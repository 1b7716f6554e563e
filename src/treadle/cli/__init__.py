"""The command line: `treadle worker`, `treadle jobs ls` and so on.

`main`: the group and its errors · `locate`: which application · `reach`: which store ·
`worker`, `reload`, `logs`: the worker's command · `enqueue`, `jobs`, `dead`, `control`: looking
and acting · `bench`, `demo`: self-contained runs · `view`: how values become text, tables and
JSON. A command decides nothing about jobs: it asks the application, as any program could.
"""
