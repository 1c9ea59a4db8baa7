"""
The commands that every core0 has.
"""

from core0.commands.bash import Bash
from core0.commands.bridge import BridgeCreate, BridgeDelete, BridgeList
from core0.commands.core import Kill, KillAll, Ping, Reboot, State, System
from core0.commands.corex import Create, Dispatch, List, Terminate
from core0.commands.info import InfoCpu, InfoDisk, InfoMem, InfoNic, InfoOs
from core0.commands.process import ProcessKill, ProcessList

COMMANDS: tuple[type, ...] = (
    Ping,
    System,
    Kill,
    KillAll,
    State,
    Reboot,
    InfoCpu,
    InfoDisk,
    InfoMem,
    InfoNic,
    InfoOs,
    Create,
    List,
    Dispatch,
    Terminate,
    BridgeCreate,
    BridgeList,
    BridgeDelete,
    Bash,
    ProcessList,
    ProcessKill,
)
