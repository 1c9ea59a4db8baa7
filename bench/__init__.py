"""
Figures: each load beside a yardstick, in turns, on the same machine.
"""
