"""Runs a command that cannot outlive the process that started it: `python tether.py PARENT_PID COMMAND…`.

The kernel is asked to kill this process when its parent dies, however it dies, and then the command takes its
place. It is a program of its own because the request has to be made inside the child: a hook between fork and
exec (`preexec_fn`) is unsafe, and warned about, in a program that has threads. It runs by path and imports
nothing of the project, so it costs a bare interpreter start (about 15 ms).
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Tie this process to `argv[1]` where the kernel can (Linux), then become `argv[2:]`."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        # The parent may have died before the request was made; then nobody would ever send the signal.
        if os.getppid() != parent:
            sys.exit(1)
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
