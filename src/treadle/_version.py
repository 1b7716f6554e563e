"""The version of treadle, in its one place.

The build reads it from here, and `treadle.__version__` is this name. It has no other
content, so that reading the version loads nothing else of the package.
"""

__version__ = "0.1.0"
