"""What an exchange says and is told, apart from the settlements: `claims`."""
