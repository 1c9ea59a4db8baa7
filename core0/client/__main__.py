"""
``python -m core0.client`` is ``corectl``.
"""

from core0.client.cli import main

if __name__ == "__main__":
    main()
