"""A part's certificate: what does not fit is named at the start, and a new one is taken while calls go on."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Final

import grpc
import grpc.aio
import pytest

from ordersaga.product.v1 import product_pb2 as pb
from ordersaga.product.v1.product_pb2_grpc import add_ProductServiceServicer_to_server
from runtime.identity import Credentials, Part
from runtime.rpc_client import open_channel
from runtime.rpc_server import GrpcService, RpcServer
from runtime.settings import Settings, SettingsError
from sandbox.certificates import CertificateAuthority, Certificates
from sandbox.ports import free_port
from services.product.server import ProductServicer
from tests.support.identities import VERIFIER

PATH: Final = "/ordersaga.product.v1.ProductService/ListProducts"
DEADLINE: Final = 20


def of(certificates: Certificates, part: Part) -> Credentials:
    return Credentials.of(
        Settings(
            tls_ca_file=certificates.ca_file,
            tls_certificate_file=certificates.certificate_file,
            tls_key_file=certificates.key_file,
        ),
        part,
    )


def write(folder: Path, part: Part, issued: tuple[bytes, bytes]) -> None:
    """As a program that renews certificates: each file at once."""
    for suffix, content in zip(("pem", "key"), issued, strict=True):
        draft = folder / f"draft.{suffix}"
        draft.write_bytes(content)
        draft.replace(folder / f"{part.value}.{suffix}")


async def ask(channel: grpc.aio.Channel) -> grpc.StatusCode:
    """Whether a call is let in: INVALID_ARGUMENT then, since it is no message."""
    method = channel.unary_unary(PATH, request_serializer=bytes, response_deserializer=bytes)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await method(b"\xff", timeout=DEADLINE)
    return caught.value.code()


@asynccontextmanager
async def product_server(certificates: Certificates, *, port: int = 0) -> AsyncIterator[RpcServer]:
    service = GrpcService(
        pb.DESCRIPTOR.services_by_name["ProductService"],
        object.__new__(ProductServicer),
        add_ProductServiceServicer_to_server,
    )
    server = RpcServer(
        f"127.0.0.1:{port}", [service], credentials=of(certificates, Part.PRODUCT), verifier=VERIFIER, grace=1
    )
    async with server:
        yield server


Spoil = Callable[[CertificateAuthority, Path], None]


def missing(_: CertificateAuthority, folder: Path) -> None:
    (folder / "product.key").unlink()


def no_certificate(_: CertificateAuthority, folder: Path) -> None:
    (folder / "product.pem").write_text("nonsense")


def no_key(_: CertificateAuthority, folder: Path) -> None:
    (folder / "product.key").write_text("nonsense")


def anothers(_: CertificateAuthority, folder: Path) -> None:
    (folder / "user.pem").replace(folder / "product.pem")


def another_key(_: CertificateAuthority, folder: Path) -> None:
    (folder / "user.key").replace(folder / "product.key")


def expired(authority: CertificateAuthority, folder: Path) -> None:
    write(folder, Part.PRODUCT, authority.issue(Part.PRODUCT, life=-timedelta(days=1)))


def strangers(_: CertificateAuthority, folder: Path) -> None:
    write(folder, Part.PRODUCT, CertificateAuthority().issue(Part.PRODUCT))


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (missing, r"ORDERSAGA_TLS_KEY_FILE: \S*product.key cannot be read: No such file"),
        (no_certificate, r"ORDERSAGA_TLS_CERTIFICATE_FILE: \S*product.pem holds no certificate in PEM"),
        (no_key, r"ORDERSAGA_TLS_KEY_FILE: \S*product.key holds no private key"),
        (anothers, r"ORDERSAGA_TLS_CERTIFICATE_FILE: \S*product.pem is for spiffe://ordersaga/user, not for spiffe"),
        (another_key, r"ORDERSAGA_TLS_KEY_FILE: \S*product.key is not the key of \S*product.pem"),
        (expired, r"ORDERSAGA_TLS_CERTIFICATE_FILE: \S*product.pem is good from .* UTC, not now"),
        (strangers, r"ORDERSAGA_TLS_CA_FILE: \S*ca.pem did not sign \S*product.pem"),
    ],
)
def test_what_does_not_fit_is_named_with_its_setting_and_its_file(tmp_path: Path, spoil: Spoil, problem: str) -> None:
    authority = CertificateAuthority()
    certificates = authority.issue_all(tmp_path)
    spoil(authority, tmp_path)

    with pytest.raises(SettingsError, match=problem):
        of(certificates, Part.PRODUCT)


def test_without_certificates_the_setting_is_named() -> None:
    with pytest.raises(SettingsError, match="ORDERSAGA_TLS_CA_FILE is not set"):
        Credentials.of(Settings(), Part.PRODUCT)


async def test_a_whole_new_ca_is_taken_by_server_and_callers_without_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.rpc_client._REFRESH", 0)
    old, new = CertificateAuthority(), CertificateAuthority()
    certificates = old.issue_all(tmp_path)
    async with (
        product_server(certificates) as server,
        open_channel(Part.PRODUCT, f"127.0.0.1:{server.port}", of(certificates, Part.GATEWAY)) as channel,
    ):
        before = await ask(channel)
        # both are trusted while each part gets its new certificate, then only the new one
        for authorities in ((old, new), (new,)):
            (tmp_path / "draft").write_bytes(b"".join(authority.pem for authority in authorities))
            (tmp_path / "draft").replace(tmp_path / "ca.pem")
            for part in (Part.PRODUCT, Part.GATEWAY):
                write(tmp_path, part, new.issue(part))
                assert await ask(channel) is grpc.StatusCode.INVALID_ARGUMENT
        with_the_old = CertificateAuthority().issue_all(tmp_path / "elsewhere")
        write(with_the_old.folder, Part.GATEWAY, old.issue(Part.GATEWAY))
        (with_the_old.folder / "ca.pem").write_bytes(old.pem + new.pem)
        async with open_channel(Part.PRODUCT, f"127.0.0.1:{server.port}", of(with_the_old, Part.GATEWAY)) as late:
            refused = await ask(late)

    assert before is grpc.StatusCode.INVALID_ARGUMENT
    assert refused is grpc.StatusCode.UNAVAILABLE


async def test_every_channel_of_a_part_takes_its_new_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.rpc_client._REFRESH", 0)
    old, new = CertificateAuthority(), CertificateAuthority()
    certificates = old.issue_all(tmp_path)
    async with AsyncExitStack() as stack:
        ours, port = of(certificates, Part.GATEWAY), free_port()
        channels = [
            await stack.enter_async_context(open_channel(Part.PRODUCT, f"127.0.0.1:{port}", ours)) for _ in range(3)
        ]
        async with product_server(certificates, port=port):
            assert [await ask(channel) for channel in channels] == [grpc.StatusCode.INVALID_ARGUMENT] * 3

        (tmp_path / "ca.pem").write_bytes(new.pem)
        for part in (Part.PRODUCT, Part.GATEWAY):
            write(tmp_path, part, new.issue(part))
        async with product_server(certificates, port=port), asyncio.timeout(DEADLINE):
            for channel in channels:
                while await ask(channel) is not grpc.StatusCode.INVALID_ARGUMENT:  # noqa: ASYNC110 - it reconnects by itself
                    await asyncio.sleep(0.05)


async def test_a_certificate_that_is_spoilt_later_changes_nothing(tmp_path: Path) -> None:
    certificates = CertificateAuthority().issue_all(tmp_path)
    async with product_server(certificates) as server:
        ours = of(certificates, Part.GATEWAY)
        (tmp_path / "product.pem").write_text("half a certifi")
        (tmp_path / "gateway.pem").write_text("half a certifi")

        assert ours.refresh() == 0
        async with open_channel(Part.PRODUCT, f"127.0.0.1:{server.port}", ours) as channel:
            assert await ask(channel) is grpc.StatusCode.INVALID_ARGUMENT


async def test_calls_under_way_end_on_the_connection_that_they_began_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.rpc_client._REFRESH", 0)
    authority = CertificateAuthority()
    certificates = authority.issue_all(tmp_path)
    begun, may_end = asyncio.Event(), asyncio.Event()

    async def slow(_: bytes, __: object) -> bytes:
        begun.set()
        await may_end.wait()
        return b"done"

    raw = grpc.aio.server()
    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(slow)
    raw.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Slow", {"Call": handler}),))
    port = raw.add_secure_port("127.0.0.1:0", of(certificates, Part.PRODUCT).for_server())
    await raw.start()
    async with open_channel(Part.PRODUCT, f"127.0.0.1:{port}", of(certificates, Part.GATEWAY)) as channel:
        method = channel.unary_unary("/test.Slow/Call", request_serializer=bytes, response_deserializer=bytes)
        under_way = asyncio.ensure_future(method(b"", timeout=DEADLINE))
        await begun.wait()
        os.utime(tmp_path / "gateway.pem")
        write(tmp_path, Part.GATEWAY, authority.issue(Part.GATEWAY))
        another = asyncio.ensure_future(method(b"", timeout=DEADLINE))
        may_end.set()

        assert [await under_way, await another] == [b"done", b"done"]
    await raw.stop(None)
