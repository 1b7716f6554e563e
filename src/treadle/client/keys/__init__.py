"""Keys and locks as applications meet them.

What an enqueue gives whose key was held is in `fates`, the lock of `app.lock` in `lock`.
"""
