#!/usr/bin/env python3
"""Runs a command, and appends to a file how long it took and how much memory it had at most.

    peak.py FILE COMMAND...     a line `MILLISECONDS MEBIBYTES`
"""

import os
import sys
import time


def main(file, *command):
    begun = time.monotonic()
    child = os.posix_spawnp(command[0], command, os.environ)
    _, status, usage = os.wait4(child, 0)
    took = time.monotonic() - begun
    with open(file, "a", encoding="ascii") as out:
        out.write(f"{took * 1000:.0f} {usage.ru_maxrss / 1024:.0f}\n")
    sys.exit(os.waitstatus_to_exitcode(status))


main(*sys.argv[1:])
