"""Unpacks a package, a .deb or a .rpm, and says as JSON what it is: `packages.py FILE FOLDER`."""

import json
import pathlib
import sys


def unpacked(folder, name, mode, owner, content):
    path = pathlib.Path(folder + name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return {"mode": f"{mode & 0o7777:o}", "owner": owner}


def deb(package, folder):
    from debian.debfile import DebFile

    package = DebFile(package)
    control = package.debcontrol()
    files, folders = {}, {}
    with package.data.tgz() as tar:
        for member in tar:
            name = "/" + member.name.removeprefix(".").strip("/")
            owner = f"{member.uid}:{member.gid}"
            if member.isdir():
                folders[name] = {"mode": f"{member.mode:o}", "owner": owner}
            else:
                files[name] = unpacked(folder, name, member.mode, owner, tar.extractfile(member).read())
    return {
        "name": control["Package"],
        "version": control["Version"],
        "architecture": control["Architecture"],
        "needs": control["Depends"],
        "scripts": [name for name in ("preinst", "postinst", "prerm", "postrm") if package.control.has_file(name)],
        "files": files,
        "folders": folders,
    }


def rpm(package, folder):
    import rpmfile

    with rpmfile.open(package) as package:
        headers = package.headers

        def texts(name):
            values = headers[name] if isinstance(headers[name], (list, tuple)) else [headers[name]]
            return [value.decode() if isinstance(value, bytes) else value for value in values]

        def text(name):
            return texts(name)[0]

        in_folders = [texts("dirnames")[index] for index in headers["dirindexes"]]
        files = {}
        for start, end, mode, user, group in zip(
            in_folders, texts("basenames"), texts("filemodes"), texts("fileusername"), texts("filegroupname")
        ):
            owner = f"{user}:{group}".replace("root", "0")
            content = package.extractfile("." + start + end).read()
            files[start + end] = unpacked(folder, start + end, mode, owner, content)
        return {
            "name": text("name"),
            "version": f"{text('version')}-{text('release')}",
            "architecture": text("arch"),
            # Besides what rpm itself must know to read the package.
            "needs": ", ".join(need for need in texts("requirename") if not need.startswith("rpmlib(")),
            "scripts": [name for name in ("prein", "postin", "preun", "postun") if name in headers],
            "files": files,
            "folders": {},
        }


file, folder = sys.argv[1:]
json.dump((deb if file.endswith(".deb") else rpm)(file, folder), sys.stdout)
