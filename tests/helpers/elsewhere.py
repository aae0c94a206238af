"""Import modules as on another system: without what only POSIX has, and without the analysis stack.

``elsewhere.py MODULE...``
"""

import asyncio  # noqa: F401 - the standard library and others' packages know the system they are on
import importlib
import os
import ssl  # noqa: F401
import subprocess  # noqa: F401
import sys
import tempfile  # noqa: F401

BLOCKED = set(
    "fcntl pwd grp resource termios tty pty syslog numpy nipype nibabel scipy pandas nilearn sklearn".split()  # noqa: SIM905
)
POSIX = (
    "O_NOFOLLOW O_DIRECTORY O_NONBLOCK O_CLOEXEC fork forkpty getuid geteuid getgid getegid getpgid setsid "
    "killpg mkfifo mknod fchmod fchown chown lchown statvfs uname wait wait3 wait4 nice openpty getloadavg"
)


class Blocked:
    """Refuses modules that are not there on other systems."""

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ImportError(f"{name} is blocked", name=name)


def main(*names: str) -> None:
    for package in (
        "aiohttp",
        "cryptography.x509",
        "msgspec",
        "pynetdicom",
        "rich.live",
        "typer",
        "watchdog",
    ):
        importlib.import_module(package)
    for name in BLOCKED & sys.modules.keys():
        del sys.modules[name]
    sys.meta_path.insert(0, Blocked())
    for name in POSIX.split():
        vars(os).pop(name, None)
    os.supports_dir_fd = set()
    for name in names:
        importlib.import_module(name)
    print(sorted(BLOCKED & sys.modules.keys()))


if __name__ == "__main__":
    main(*sys.argv[1:])
