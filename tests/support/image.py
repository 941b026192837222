"""The image of deploy/Dockerfile, built without a daemon and without a registry, and its processes run as a cluster
would run them: as its user, without any capability, and with nothing to write to.

Its base is a Debian that debootstrap makes once; buildah's isolation `chroot` and storage `vfs` want neither
namespaces nor overlay file systems, but root.
"""

from __future__ import annotations

import json
import os
import shutil
import ssl
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import pytest

from sandbox.child import Command
from sandbox.processes import ROOT
from tests.support import programs

SUITE: Final = "bookworm"
PACKAGES: Final = "python3,python3-venv,ca-certificates"
_NAME: Final = "localhost/ordersaga"
_BASE: Final = "localhost/base"
_CERTIFICATES: Final = "/etc/ssl/certs/ca-certificates.crt"
_ENTER: Final = """
image=$1 files=$2 user=$3 group=$4
shift 4
mount --bind "$image" "$image"
mount --rbind /dev "$image/dev"
mount -t proc proc "$image/proc"
mount -t tmpfs -o mode=0755 run "$image/run"
mkdir "$image/run/ordersaga"
mount --rbind "$files" "$image/run/ordersaga"
mount -o remount,bind,ro "$image/run/ordersaga"
mount -o remount,ro "$image/run"
mount -o remount,bind,ro "$image"
exec chroot "$image" setpriv --reuid="$user" --regid="$group" --clear-groups \
  --no-new-privs --bounding-set=-all --inh-caps=-all "$@"
"""
"""In a mount namespace of its own: the image read-only, the files at /run/ordersaga, and then no right to anything."""


@dataclass(frozen=True, slots=True)
class Image:
    """The image, unpacked.

    Attributes:
        root: its root file system.
        config: what it says of how it is run.
        base_size: bytes of its base, not compressed.
        size: bytes of the layers over it.
    """

    root: Path
    config: Mapping[str, Any]
    base_size: int
    size: int

    @property
    def environment(self) -> dict[str, str]:
        """The variables that it sets."""
        return dict(entry.split("=", 1) for entry in self.config["Env"])

    def command(
        self, name: str, *arguments: str, files: Path, environment: Mapping[str, str], log: Path, grace: float
    ) -> Command:
        """What runs its entry point with these arguments, where `files` are at /run/ordersaga."""
        user, group = self.config["User"].split(":")
        entered = ["unshare", "--mount", "sh", "-euc", _ENTER, "sh", str(self.root), str(files), user, group]
        return Command(
            name=name,
            arguments=[*entered, *self.config["Entrypoint"], *arguments],
            log=log,
            environment={**self.environment, **environment},
            folder=Path("/"),
            grace=grace,
        )


@contextmanager
def built_image() -> Iterator[Image]:
    """The image, as long as the context is open."""
    if os.geteuid() != 0:
        pytest.fail("images are built as root here; set ORDERSAGA_WITHOUT=buildah", pytrace=False)
    buildah, base = str(programs.needed("buildah")), programs.cached(f"base-{SUITE}", _make_base) / "rootfs.tar"
    with TemporaryDirectory(prefix="ordersaga-image-") as name:
        folder = Path(name)
        storage = ["--storage-driver=vfs", f"--root={folder / 'root'}", f"--runroot={folder / 'runroot'}"]

        def run(command: str, *arguments: str | Path) -> str:
            line = [buildah, *storage, command, *map(str, arguments)]
            done = subprocess.run(line, cwd=ROOT, env=_environment(folder), capture_output=True, text=True)
            assert done.returncode == 0, f"{' '.join(line)}:\n{done.stdout[-2_000:]}{done.stderr[-4_000:]}"
            return done.stdout.strip()

        run("add", "--quiet", empty := run("from", "scratch"), base, "/")
        run("commit", "--quiet", "--rm", empty, _BASE)
        trusted = f"--volume={ssl.get_default_verify_paths().cafile or _CERTIFICATES}:{_CERTIFICATES}:ro"
        run("build", "--quiet", trusted, f"--build-arg=BASE={_BASE}", "--file=deploy/Dockerfile", f"--tag={_NAME}", ".")
        described = json.loads(run("inspect", "--type=image", _NAME))
        of_base, *ours = json.loads(described["Manifest"])["layers"]
        container = run("from", _NAME)
        try:
            yield Image(
                root=Path(run("mount", container)),
                config=described["OCIv1"]["config"],
                base_size=of_base["size"],
                size=sum(layer["size"] for layer in ours),
            )
        finally:
            run("rm", container)


def _environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "BUILDAH_ISOLATION": "chroot", "TMPDIR": str(folder)}


def _make_base(folder: Path) -> None:
    """A Debian with Python, as an archive."""
    system = folder / "system"
    programs.run([programs.needed("debootstrap"), "--variant=minbase", f"--include={PACKAGES}", SUITE, system])
    for downloads in ("var/cache/apt", "var/lib/apt/lists"):
        shutil.rmtree(system / downloads)
        (system / downloads).mkdir()
    with tarfile.open(folder / "rootfs.tar", "w") as packed:
        packed.add(system, "/")
    shutil.rmtree(system)
