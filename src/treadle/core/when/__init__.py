"""When is something due? Cron expressions, intervals and single instants.

Pure arithmetic on instants: `parse` reads an expression, `calendar` finds matching local
times, `zones` knows about clock changes, `cron` puts the three together, `triggers` has the
other kinds and the form in which stores keep them.
"""
