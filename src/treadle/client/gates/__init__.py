"""Gates as an application's code sees them.

`control` is what `app.gates` does (look, pause, resume, set), `tasks` pauses whole tasks, `story`
says why a job waits. For code that is no job `outside` finds a limit by its name, `limit` asks for
it, and `hold` is what it is given.
"""
