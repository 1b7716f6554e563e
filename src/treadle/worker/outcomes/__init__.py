"""What did an attempt come to?

`raised` maps everything a task can raise to an `Outcome`; `describe` turns errors and stacks
into bounded text that can be stored. `transaction` is the block in which a task writes its own
tables, and `ending` makes these writes and its success one.
"""
