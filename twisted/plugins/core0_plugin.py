"""
Makes ``twistd core0`` known.
"""

from twisted.application.service import ServiceMaker

core0 = ServiceMaker("core0", "core0.service", "Runs what Redis clients ask for, and answers every command.", "core0")
