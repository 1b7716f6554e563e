"""Lets `python -m bench` run the suite; everything is in `run.py`."""

import sys

from bench.run import main

if __name__ == "__main__":
    sys.exit(main())
