"""
What this machine is: facts read from /proc, /sys and the kernel. Everything here blocks; call it in a thread.

``collect`` of each module answers for one ``info.*`` command. It reads below ``root``, and a file that is not there, or
cannot be read, leaves its facts empty: "", 0 or -1.
"""
