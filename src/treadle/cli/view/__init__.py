"""How values become what a person or a program reads.

`text`: spans, ages, unprintable characters · `tables`: rows and colours · `job`: one job with
all that is known of it · `document`: the JSON form of each value.
"""
