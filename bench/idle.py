"""What an installation costs that has nothing to do: CPU of each process of `anomalyllm up --no-console`, in cores.

PYTHONPATH=. python bench/idle.py [--seconds 30]
"""

import argparse
import signal
import subprocess
import sys
import tempfile
import time

import psutil

from testkit.ports import own_ports


def main() -> None:
    """Print a line a process, and their sum."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30.0)
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "streamer.cli", "up", "--no-console", "--state-dir", folder]
        with subprocess.Popen(
            command, env={**psutil.Process().environ(), **own_ports()}, stdout=subprocess.DEVNULL
        ) as up:
            try:
                time.sleep(20)  # workers are ready, and what they load is loaded
                processes = [psutil.Process(up.pid), *psutil.Process(up.pid).children(recursive=True)]
                before = [sum(process.cpu_times()[:2]) for process in processes]
                time.sleep(seconds)
                used = [sum(p.cpu_times()[:2]) - b for p, b in zip(processes, before, strict=True)]
                for process, cpu in zip(processes, used, strict=True):
                    print(f"{cpu / seconds:.3f}  {' '.join(process.cmdline())[-60:]}")
                print(f"{sum(used) / seconds:.3f}  all")
            finally:
                up.send_signal(signal.SIGINT)


if __name__ == "__main__":
    main()
