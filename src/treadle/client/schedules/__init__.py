"""Schedules as users have them: declared in code, or made and changed at run time."""
