#!/usr/bin/env python3
"""Writes what a tar of a root filesystem has beyond another one, as an engine's layer would.

    layers.py BELOW ABOVE LAYER     BELOW is a tar or `-` for nothing

Entries are sorted, dated 1970 and without names of owners: the normal form of docs/formats.md.
"""

import hashlib
import sys
import tarfile


def entries(path):
    found = {}
    if path == "-":
        return found
    with tarfile.open(path, "r:") as tar:
        for member in tar:
            name = member.name.strip("/").removeprefix("./")
            if name in ("", ".") or member.isdev():
                continue
            digest = hashlib.sha256(tar.extractfile(member).read()).digest() if member.isreg() else b""
            link = member.linkname.removeprefix("./") if member.islnk() else member.linkname
            found[name] = (member.type, member.mode, member.uid, member.gid, link, digest)
    return found


def main(below, above, layer):
    known, wanted = entries(below), entries(above)
    changed = {name for name, entry in wanted.items() if known.get(name) != entry}
    for name in list(changed):
        while "/" in name:
            name = name.rpartition("/")[0]
            if name in wanted:
                changed.add(name)
    gone = {name for name in known if name not in wanted and name.rpartition("/")[0] in {"", *wanted}}
    with tarfile.open(above, "r:") as source, tarfile.open(layer, "w", format=tarfile.PAX_FORMAT) as out:
        members = {member.name.strip("/").removeprefix("./"): member for member in source}
        white = {f"{n.rpartition('/')[0]}/.wh.{n.rpartition('/')[2]}".lstrip("/") for n in gone}
        for name in sorted(changed | white, key=lambda name: name.split("/")):
            if name in white:
                out.addfile(tarfile.TarInfo(name))
                continue
            member = members[name]
            content = source.extractfile(member) if member.isreg() else None
            member.name, member.mtime, member.uname, member.gname = name, 0, "", ""
            if member.islnk():
                member.linkname = member.linkname.removeprefix("./")
            member.pax_headers = {k: v for k, v in member.pax_headers.items() if k.startswith("SCHILY.xattr")}
            out.addfile(member, content)


main(*sys.argv[1:])
