"""Tests of what people and their tools see and change.

`reads` and `find` look at jobs, `notes` keeps what running tasks report, `verbs` cancels,
retries and deletes, `queues` pauses, `namespaces` keeps applications apart and `strings`
feeds hostile text.
"""
