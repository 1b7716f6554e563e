"""Executors: where an attempt's code runs, and how it is ended when its time is over.

`group` is what the worker holds; `base` says what each executor promises. `loop` runs async
tasks, `thread` runs sync ones on the threads of `pool`, each of which is a `seat`. `limits`
watches the time limits of both, `overdue` what is left of attempts that ignored them, and
`soft` raises the soft limit inside a coroutine. `blocked` reports a task that blocks the loop.
"""
