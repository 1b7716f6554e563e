"""What the verbs of the Redis store stand on: addresses, connections, replies, the listener.

Nothing here knows of jobs. `address` reads URLs, `wire` is one connection, `pool` keeps
and finds them, `runner` carries a script to the server, `replies` turns a server's refusals into
errors, `listener` hears hints.
"""
