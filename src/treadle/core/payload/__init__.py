"""What `core.codec` is made of, one question a file.

`signature`: does a call fit the task? `annotations`: can this type come back from JSON?
`jsonable`: what is this value as JSON, and which part of it cannot be? `envelope`: how is a
stored call laid out?
"""
