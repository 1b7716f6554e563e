"""Gates as an application's code sees them.

`control` is what `app.gates` does (look, pause, resume, set), `kinds` says what another kind would
be there, `tasks` pauses whole tasks or a key of one, `story` says why a job waits. For code that is
no job `outside` finds a limit by its name, `limit` asks for it, and `hold` is what it is given.
"""
