"""The line's own verbs on PostgreSQL: enqueue and exchange.

An exchange settles (`settle`) and claims (`exchange`), beginning where `scan` remembers.
"""
