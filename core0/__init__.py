"""
core0: the first process on a host, commanded through Redis.
"""

__version__ = "0.1.0"
