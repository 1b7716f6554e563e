"""What did an attempt come to?

`raised` maps everything a task can raise to an `Outcome`; `describe` turns errors and stacks
into bounded text that can be stored.
"""
