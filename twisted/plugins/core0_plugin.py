"""
Makes ``twistd core0`` and ``twistd corex`` known.
"""

from twisted.application.service import ServiceMaker

core0 = ServiceMaker("core0", "core0.service", "Runs what Redis clients ask for, and answers every command.", "core0")
corex = ServiceMaker("corex", "core0.corex", "Runs a CoreX by hand, for development.", "corex")
