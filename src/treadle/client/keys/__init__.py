"""Keys and locks as applications meet them.

What an enqueue gives whose key was held is in `fates`, the lock of `app.lock` in `lock`. What that
shares with holds of limits is in `lease` (asking with patience, a lease that is prolonged) and in
`single` (an object holds once at a time).
"""
