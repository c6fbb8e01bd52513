#!/usr/bin/env python3
"""Writes the layers that change: an application, one changed file of it, another application, and a
layer of packages as another day's build leaves it, with other logs and caches.

    applications.py DIR
"""

import io
import random
import sys
import tarfile


def application(path, seed, changed=None):
    source = random.Random(seed)
    with tarfile.open(path, "w") as tar:
        for number in range(400):
            lines = [f"export const x{line} = {source.random()};\n" for line in range(200)]
            text = "".join(lines).encode()
            if number == changed:
                text = text.replace(b"x7 =", b"y7 =")
            member = tarfile.TarInfo(f"app/src/{number:03}.js")
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text))


def rebuilt(source, target, day):
    noise = random.Random(day)
    stale = ("var/cache/ldconfig/aux-cache", "var/log/dpkg.log", "var/log/apt/history.log", "var/log/alternatives.log")
    with tarfile.open(source) as old, tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as new:
        members = {member.name: member for member in old}
        for name in sorted({*members, *stale}, key=lambda name: name.split("/")):
            member = members.get(name) or tarfile.TarInfo(name)
            content = old.extractfile(member) if name in members and member.isreg() else None
            if name in stale:
                member.size = 20_000
                content = io.BytesIO(noise.randbytes(member.size))
            new.addfile(member, content)


def main(folder):
    application(f"{folder}/application.layer", 1)
    application(f"{folder}/application-changed.layer", 1, changed=137)
    application(f"{folder}/application-sister.layer", 2)
    rebuilt(f"{folder}/apt.layer", f"{folder}/apt-rebuilt.layer", 2)


main(*sys.argv[1:])
