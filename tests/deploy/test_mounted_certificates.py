"""Certificates in a Secret's volume, which a kubelet changes by swapping a symbolic link."""

from __future__ import annotations

from pathlib import Path

from runtime.identity import Credentials, Part
from tests.support.identities import authority


def mount(folder: Path, generation: str) -> None:
    """Another version of the volume, as https://pkg.go.dev/k8s.io/kubernetes/pkg/volume/util#AtomicWriter writes it."""
    certificate, key = authority().issue(Part.USER)
    version = folder / f"..{generation}"
    version.mkdir()
    for name, content in {"ca.crt": authority().pem, "tls.crt": certificate, "tls.key": key}.items():
        (version / name).write_bytes(content)
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"..data/{name}")
    (folder / "..data_tmp").symlink_to(version.name)
    (folder / "..data_tmp").rename(folder / "..data")


def test_a_renewed_certificate_is_read_when_the_volume_changes(tmp_path: Path) -> None:
    mount(tmp_path, "first")
    credentials = Credentials(
        Part.USER, ca=tmp_path / "ca.crt", certificate=tmp_path / "tls.crt", key=tmp_path / "tls.key"
    )
    before, generation = credentials.pem, credentials.refresh()

    mount(tmp_path, "second")

    assert credentials.refresh() == generation + 1
    assert credentials.pem.certificate != before.certificate
