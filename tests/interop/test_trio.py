"""The Trio adapter with strongSwan's charon: the way an application takes."""

from __future__ import annotations

import pytest

import ikecore
from tests.interop.charon import Charon
from tests.interop.peer import PATIENCE
from tests.interop.peering import CHARON, CHARON_ID, Authorities, Peering

trio = pytest.importorskip("trio")
ikecore_trio = pytest.importorskip("ikecore_trio")


@pytest.mark.trio
async def test_connect_and_leave(charon: Charon, authorities: Authorities) -> None:
    peering = Peering(auth="ecdsa")
    peering.load_into(charon, authorities)
    with trio.fail_after(PATIENCE):
        async with ikecore_trio.connect(CHARON, peering.connection(authorities)) as session:
            assert session.peer_identity == f"fqdn:{CHARON_ID}"
            charon.until(lambda: [sa.state for sa in charon.list_sas()] == ["ESTABLISHED"])
            keys, logged = session.child_sas[0].export_keys(), charon.keys().children[0]
            assert (keys.encr_out, keys.encr_in) == (logged.encr_i, logged.encr_r)
    charon.until(lambda: charon.list_sas() == [])
    charon.until_said("received DELETE for IKE_SA")


@pytest.mark.trio
async def test_a_wrong_secret_is_one_clear_error(charon: Charon, authorities: Authorities) -> None:
    Peering(secret="another one").load_into(charon, authorities)
    with trio.fail_after(PATIENCE), pytest.raises(ikecore.AuthenticationFailed):
        async with ikecore_trio.connect(CHARON, Peering().connection(authorities)):
            pass
