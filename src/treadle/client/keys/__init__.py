"""Keys and locks as applications meet them.

What an enqueue gives whose key was held is in `fates`, the lock of `app.lock` in `lock`, and what
it shares with holds of limits (asking with patience, a lease that is prolonged) in `lease`.
"""
