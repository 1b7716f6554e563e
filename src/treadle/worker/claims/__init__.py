"""What a worker holds.

`held`: its claims, their places, and the room for more · `marks`: which of them have begun,
known also to those who come after a crash.
"""
