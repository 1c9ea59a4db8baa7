"""
Programs that do what they can to be more than one process, each in a way of its own. Their first argument is a file.
"""

# Processes that leave their group, their session, their parent, their streams and their environment behind. Each says
# that it is there by a file with its name and number.
SPREAD = """
import os, signal, sys

folder, end = sys.argv[1:]

def stay(name):
    with open(f"{folder}/{name}", "w") as file:
        file.write(f"{os.getpid()}\\n")
    while True:
        signal.pause()

def again():
    if os.fork():
        os._exit(0)

def quiet():
    os.closerange(0, 3)

def group():
    os.setpgid(0, 0)

def other():
    again()
    program = "import os, signal, sys; open(sys.argv[1], 'w').write(f'{os.getpid()}\\\\n')\\nwhile True: signal.pause()"
    os.execve(sys.executable, ["other", "-ISc", program, f"{folder}/other"], {})

def child(name, *steps):
    if os.fork() == 0:
        for step in steps:
            step()
        stay(name)

signal.signal(signal.SIGTERM, signal.SIG_IGN)
child("plain")
child("group", group)
child("session", os.setsid)
child("orphan", again)
child("both", os.setsid, again)
child("daemon", again, os.setsid, again, quiet)
child("quiet", quiet)
child("other", other)
if end == "stay":
    stay("main")
while len(os.listdir(folder)) < 8:
    pass
print("done")
"""
NAMES = {"plain", "group", "session", "orphan", "both", "daemon", "quiet", "other"}
# At TERM each process begins to fork a chain of processes, each of which forks the next and stays.
REFORK = """
import os, signal, sys

def refork(*_):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for generation in range(200):
        if os.fork():
            return
        os.write(log, b".")
        if generation % 3 == 0:
            os.setsid()
        signal.sigtimedwait([], 0.005)

log = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
signal.signal(signal.SIGTERM, refork)
for _ in range(3):
    if os.fork() == 0:
        break
os.write(log, b"r")
while True:
    signal.pause()
"""
# Four processes, apart from each other, that note each USR1.
LISTEN = """
import os, signal, sys
log = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
signal.signal(signal.SIGUSR1, lambda *_: os.write(log, b"%d\\n" % os.getpid()))
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0 and os.fork():
        os._exit(0)
elif os.fork() == 0:
    pass
os.write(log, b"up\\n")
while True:
    signal.pause()
"""
CROWD = 1500  # processes; the kernel lists some 700 at once
MANY = f"""
import os, signal, sys
log = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
signal.signal(signal.SIGUSR1, lambda *_: os.write(log, b"."))
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
for _ in range({CROWD - 1}):
    if os.fork() == 0:
        break
os.write(log, b"u")
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
while True:
    signal.pause()
"""
RUNAWAYS = 30_000
# A process that forks another and ends, which does the same: at each look it is somebody else.
RUNAWAY = f"""
import os, signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
log = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
for generation in range({RUNAWAYS}):
    if os.fork():
        os._exit(0)
    os.setsid()
    os.write(log, b".")
"""
