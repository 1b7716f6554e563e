"""Gates as an application's code sees them: looked at, paused, opened again, set."""
