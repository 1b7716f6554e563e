"""Lets `python -m bench.gates` run; everything is in `run.py`."""

import sys

from bench.gates.run import main

if __name__ == "__main__":
    sys.exit(main())
