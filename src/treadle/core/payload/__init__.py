"""Payloads: how arguments and results become bytes and come back, one question a file.

`codec`: what does a task encode and decode with? `signature`: does a call fit the task?
`annotations`: can this type come back from JSON? `jsonable`: what is this value as JSON, and
which part of it cannot be? `envelope`: how is a stored call laid out? `template`: which arguments
does a template read?
"""
