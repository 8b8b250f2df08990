"""The choice of a proposal as tables: what is offered, what we have, what comes out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ikecore.crypto import (
    DEFAULT_ESP_PROPOSALS,
    DEFAULT_IKE_PROPOSALS,
    accepted_proposal,
    child_suite,
    choose_proposal,
    esp_proposals,
    ike_proposals,
    ike_suite,
    negotiation,
)
from ikecore.errors import NoProposalChosen
from ikecore.wire import Attribute, Proposal, Transform
from ikecore.wire.numbers import Encr, Esn, Integ, Ke, Prf, Protocol, TransformType

ENCR, PRF, INTEG, KE, ESN, ADDKE1 = (TransformType(number) for number in range(1, 7))
GCM = Transform(ENCR, Encr.AES_GCM_16, (Attribute(14, 256),))
CBC = Transform(ENCR, Encr.AES_CBC, (Attribute(14, 256),))
SHA = Transform(PRF, Prf.HMAC_SHA2_256)
MAC = Transform(INTEG, Integ.HMAC_SHA2_256_128)
NO_MAC = Transform(INTEG, Integ.NONE)
X25519 = Transform(KE, Ke.CURVE25519)
NO_KE = Transform(KE, Ke.NONE)
NO_ESN = Transform(ESN, Esn.NO_ESN)
WITH_ESN = Transform(ESN, Esn.ESN)


def ike(*transforms: Transform, number: int = 1, spi: bytes = b"") -> Proposal:
    return Proposal(number, Protocol.IKE, spi, transforms)


def esp(*transforms: Transform, number: int = 1, spi: bytes = b"spi4") -> Proposal:
    return Proposal(number, Protocol.ESP, spi, transforms)


def changed(proposal: Proposal, **changes: Any) -> Proposal:
    """Return *proposal* with other fields."""
    fields = {name: getattr(proposal, name) for name in ("number", "protocol", "spi", "transforms")}
    return Proposal(**(fields | changes))


def choose_ike(
    offered: Sequence[Proposal], ours: Sequence[Proposal] = DEFAULT_IKE_PROPOSALS, group: int | None = None
) -> Proposal | None:
    return choose_proposal(offered, ours, protocol=Protocol.IKE, spi_size=0, with_group=True, group=group)


def choose_esp(
    offered: Sequence[Proposal], ours: Sequence[Proposal] = DEFAULT_ESP_PROPOSALS, *, with_group: bool = True
) -> Proposal | None:
    return choose_proposal(offered, ours, protocol=Protocol.ESP, spi_size=4, with_group=with_group)


GOOD = ike(GCM, SHA, X25519)


@pytest.mark.requirement("IKE-107", "IKE-108", "IKE-111")
def test_one_proposal_is_chosen_with_one_unmodified_transform_of_each_type() -> None:
    for number in (1, 7):
        chosen = choose_ike([changed(DEFAULT_IKE_PROPOSALS[0], number=number)])
        assert chosen == ike(GCM, SHA, X25519, number=number)


@pytest.mark.requirement("IKE-107", "IKE-257")
def test_our_order_decides() -> None:
    offered = ike_proposals("aes128-sha256-x25519", "aes128gcm16-prfsha256-ecp256-x25519")
    ours = ike_proposals("aes128gcm16-prfsha256-x25519-ecp256", "aes128-sha256-x25519")
    chosen = choose_ike(offered, ours)
    assert chosen is not None
    assert (chosen.number, str(ike_suite(chosen))) == (2, "AES_GCM_16-128/PRF_HMAC_SHA2_256/CURVE25519")


def test_the_group_of_the_peers_key_exchange_saves_a_round_trip() -> None:
    offered = ike_proposals("aes128gcm16-prfsha256-x25519-ecp256")
    for group, expected in ((Ke.ECP_256, Ke.ECP_256), (Ke.CURVE25519, Ke.CURVE25519), (Ke.MODP_2048, Ke.CURVE25519)):
        chosen = choose_ike(offered, group=group)
        assert chosen is not None
        assert ike_suite(chosen).group == expected


BAD_IKE = {
    "no PRF": ike(GCM, X25519),
    "no cipher": ike(SHA, X25519),
    "no group": ike(GCM, SHA),
    "group NONE": ike(GCM, SHA, NO_KE),
    "no integrity": ike(CBC, SHA, X25519),
    "integrity NONE without an AEAD": ike(CBC, SHA, NO_MAC, X25519),
    "AEAD with integrity": ike(GCM, SHA, MAC, X25519),
    "AEAD with integrity or NONE": ike(GCM, SHA, MAC, NO_MAC, X25519),
    "AEAD beside CBC": ike(GCM, CBC, SHA, MAC, X25519),
    "ENCR_NULL": ike(Transform(ENCR, Encr.NULL), SHA, MAC, X25519),
    "known cipher that we lack": ike(Transform(ENCR, Encr.AES_CTR, (Attribute(14, 256),)), SHA, MAC, X25519),
    "private-use cipher": ike(Transform(ENCR, 64000), SHA, MAC, X25519),
    "private-use group": ike(GCM, SHA, Transform(KE, 64000)),
    "weak PRF": ike(GCM, Transform(PRF, Prf.HMAC_MD5), X25519),
    "sequence numbers in an IKE SA": ike(GCM, SHA, X25519, NO_ESN),
    "unknown type of transform": ike(GCM, SHA, X25519, Transform(200, 0)),
    "type 0": ike(GCM, SHA, X25519, Transform(0, 0)),
    "additional key exchange": ike(GCM, SHA, X25519, Transform(ADDKE1, Ke.ML_KEM_768)),
    "no key length": ike(Transform(ENCR, Encr.AES_GCM_16), SHA, X25519),
    "key length of 0": ike(Transform(ENCR, Encr.AES_GCM_16, (Attribute(14, 0),)), SHA, X25519),
    "key length as octets": ike(Transform(ENCR, Encr.AES_GCM_16, (Attribute(14, b"\1\0"),)), SHA, X25519),
    "key length twice": ike(Transform(ENCR, Encr.AES_GCM_16, (Attribute(14, 256), Attribute(14, 256))), SHA, X25519),
    "unknown attribute": ike(
        Transform(ENCR, Encr.AES_GCM_16, (Attribute(14, 256), Attribute(99, 1))), SHA, X25519
    ),
    "key length of a PRF": ike(GCM, Transform(PRF, Prf.HMAC_SHA2_256, (Attribute(14, 256),)), X25519),
    "SPI": ike(GCM, SHA, X25519, spi=bytes(8)),
    "no transforms": ike(),
    "for ESP": Proposal(1, Protocol.ESP, b"", (GCM, SHA, X25519)),
    "for AH": Proposal(1, Protocol.AH, b"", (GCM, SHA, X25519)),
    "for an unknown protocol": Proposal(1, 99, b"", (GCM, SHA, X25519)),
}  # fmt: skip


@pytest.mark.requirement(
    "IKE-107",
    "IKE-109",
    "IKE-112",
    "IKE-113",
    "IKE-178",
    "IKE-252",
    "IKE-254",
    "IKE-255",
    "IKE-259",
    "IKE-262",
    "IKE-263",
)
@pytest.mark.parametrize("bad", BAD_IKE.values(), ids=BAD_IKE.keys())
def test_an_unacceptable_proposal_is_passed_over_and_others_are_considered(bad: Proposal) -> None:
    assert choose_ike([bad]) is None
    assert choose_ike([bad, changed(GOOD, number=2)]) == changed(GOOD, number=2)
    assert choose_ike([changed(GOOD, number=1), changed(bad, number=2)]) == GOOD


@pytest.mark.requirement("IKE-113")
@pytest.mark.parametrize(
    "extra",
    [
        Transform(ENCR, 64000),
        Transform(ENCR, Encr.AES_GCM_16),
        Transform(ENCR, Encr.AES_GCM_16, (Attribute(14, 256), Attribute(99, 7))),
        Transform(PRF, Prf.HMAC_SHA1),
        Transform(KE, 64000),
        Transform(KE, Ke.MODP_1024),
    ],
)
def test_a_transform_that_we_do_not_know_only_drops_out_itself(extra: Transform) -> None:
    for transforms in ((extra, GCM, SHA, X25519), (GCM, SHA, X25519, extra)):
        chosen = choose_ike([ike(*transforms)])
        assert chosen is not None
        assert sorted(chosen.transforms, key=lambda each: each.type) == [GCM, SHA, X25519]


@pytest.mark.requirement("IKE-109", "IKE-256")
def test_none_means_the_same_as_leaving_out() -> None:
    assert choose_ike([ike(GCM, SHA, NO_MAC, X25519)]) == ike(GCM, SHA, NO_MAC, X25519)
    none = Transform(ADDKE1, Ke.NONE)
    assert choose_ike([ike(GCM, SHA, X25519, Transform(ADDKE1, Ke.ML_KEM_768), none)]) == ike(GCM, SHA, X25519, none)
    assert choose_esp([esp(GCM, NO_MAC, NO_ESN, NO_KE)]) == esp(GCM, NO_MAC, NO_ESN, NO_KE)
    with_none = esp_proposals("aes256gcm16-x25519-modpnone")
    assert choose_esp([esp(GCM, NO_ESN)], with_none) == esp(GCM, NO_ESN)
    assert choose_esp([esp(GCM, NO_ESN, NO_KE)], with_none) == esp(GCM, NO_ESN, NO_KE)
    assert choose_esp([esp(GCM, NO_ESN, NO_KE, X25519)], with_none) == esp(GCM, NO_ESN, X25519)


@pytest.mark.requirement("IKE-260")
def test_a_longer_key_than_configured_is_taken_if_nothing_fits_exactly() -> None:
    ours = ike_proposals("aes128gcm16-prfsha256-x25519")
    long, longer = ike_proposals("aes192gcm16-prfsha256-x25519", "aes256gcm16-prfsha256-x25519")
    exact = changed(ours[0], number=3)
    assert choose_ike([long, longer, exact], ours) == exact
    assert choose_ike([longer], ours) == longer
    (both,) = ike_proposals("aes256gcm16-aes192gcm16-prfsha256-x25519")
    chosen = choose_ike([both], ours)
    assert chosen is not None
    assert ike_suite(chosen).key_bits == 192
    assert choose_ike(ours, [longer]) is None, "a shorter one is never taken"


@pytest.mark.requirement("IKE-114", "IKE-011", "IKE-255")
def test_a_child_sa_in_ike_auth_has_no_key_exchange() -> None:
    ours = esp_proposals("aes256gcm16-x25519")
    assert choose_esp([esp(GCM, NO_ESN)], ours, with_group=False) == esp(GCM, NO_ESN)
    assert choose_esp([esp(GCM, NO_ESN, NO_KE)], ours, with_group=False) == esp(GCM, NO_ESN, NO_KE)
    assert choose_esp([esp(GCM, NO_ESN, X25519)], ours, with_group=False) is None
    assert choose_esp([esp(GCM, NO_ESN, X25519)], ours) == esp(GCM, NO_ESN, X25519)
    assert choose_esp([esp(GCM, NO_ESN)], ours) is None, "forward secrecy was configured"


BAD_ESP = {
    "no sequence numbers": esp(GCM),
    "no cipher": esp(MAC, NO_ESN),
    "PRF": esp(GCM, SHA, NO_ESN),
    "no integrity": esp(CBC, NO_ESN),
    "integrity NONE": esp(CBC, NO_MAC, NO_ESN),
    "null with null": esp(Transform(ENCR, Encr.NULL), NO_MAC, NO_ESN),
    "AEAD with integrity": esp(GCM, MAC, NO_ESN),
    "other sequence numbers": esp(GCM, Transform(ESN, 2)),
    "SPI of 8": esp(GCM, NO_ESN, spi=bytes(8)),
    "no SPI": esp(GCM, NO_ESN, spi=b""),
}


@pytest.mark.requirement("IKE-252", "IKE-255", "IKE-112")
@pytest.mark.parametrize("bad", BAD_ESP.values(), ids=BAD_ESP.keys())
def test_an_unacceptable_proposal_for_a_child_sa(bad: Proposal) -> None:
    ours = (*DEFAULT_ESP_PROPOSALS, *esp_proposals("null-sha256"))
    assert choose_esp([bad], ours) is None
    assert choose_esp([bad, esp(GCM, WITH_ESN, number=2)], ours) == esp(GCM, WITH_ESN, number=2)


def test_integrity_alone_is_chosen_where_it_is_configured() -> None:
    offered = esp(Transform(ENCR, Encr.NULL), MAC, NO_ESN)
    assert choose_esp([offered]) is None
    chosen = choose_esp([offered], esp_proposals("null-sha256"))
    assert chosen == offered
    assert str(child_suite(chosen)) == "NULL/HMAC_SHA2_256_128/NO_ESN"


@pytest.mark.requirement("IKE-263")
def test_a_cipher_without_integrity_is_not_chosen_even_if_someone_configures_it() -> None:
    for bare in (esp(CBC, NO_ESN), esp(CBC, NO_MAC, NO_ESN), esp(Transform(ENCR, Encr.NULL), NO_ESN)):
        assert choose_esp([bare], [bare]) is None
    bare = ike(CBC, SHA, X25519)
    assert choose_ike([bare], [bare]) is None


def test_a_protocol_other_than_ike_and_esp_is_never_chosen() -> None:
    header = Proposal(1, Protocol.AH, b"spi4", (MAC, NO_ESN))
    assert choose_proposal([header], [header], protocol=Protocol.AH, spi_size=4, with_group=True) is None


def test_nothing_offered_or_nothing_ours_gives_nothing() -> None:
    assert choose_ike([]) is None
    assert choose_ike([GOOD], []) is None
    assert choose_esp([GOOD]) is None


TYPES = st.sampled_from([0, 1, 2, 3, 4, 5, 6, 12, 13, 99])
ATTRIBUTES = st.lists(
    st.builds(
        Attribute, st.sampled_from([14, 14, 14, 99]), st.sampled_from([0, 128, 192, 256, 257]) | st.binary(max_size=3)
    ),
    max_size=2,
).map(tuple)
TRANSFORMS = st.one_of(
    st.sampled_from([GCM, CBC, SHA, MAC, NO_MAC, X25519, NO_KE, NO_ESN, WITH_ESN]),
    st.builds(Transform, TYPES, st.integers(0, 40), ATTRIBUTES),
)


def offers(protocol: int, spi: bytes) -> st.SearchStrategy[list[Proposal]]:
    proposal = st.builds(
        Proposal, st.integers(1, 255), st.just(protocol), st.just(spi), st.lists(TRANSFORMS, max_size=9).map(tuple)
    )
    return st.lists(proposal, max_size=4)


@given(offered=offers(Protocol.IKE, b""))
def test_whatever_is_chosen_for_an_ike_sa_is_a_suite_and_passes_the_offerers_check(offered: list[Proposal]) -> None:
    chosen = choose_ike(offered)
    if chosen is not None:
        ike_suite(chosen)
        assert any(chosen.number == each.number and set(chosen.transforms) <= set(each.transforms) for each in offered)
        accepted_proposal([each for each in offered if set(chosen.transforms) <= set(each.transforms)], [chosen])


@given(offered=offers(Protocol.ESP, b"spi4"), with_group=st.booleans())
def test_whatever_is_chosen_for_a_child_sa_is_a_suite(offered: list[Proposal], with_group: bool) -> None:
    ours = (*DEFAULT_ESP_PROPOSALS, *esp_proposals("aes128-sha256-x25519-ecp256"))
    chosen = choose_esp(offered, ours, with_group=with_group)
    if chosen is not None:
        suite = child_suite(chosen)
        assert with_group or suite.group is None
        assert len({each.type for each in chosen.transforms}) == len(chosen.transforms)


def test_one_good_proposal_is_found_after_a_thousand_bad_ones() -> None:
    bad = ike(*[Transform(ENCR, Encr.AES_CBC, (Attribute(14, 1000 + each),)) for each in range(200)], SHA, MAC, X25519)
    assert choose_ike([bad] * 1000 + [GOOD]) == GOOD


# --- the initiator's side ---------------------------------------------------------------------------------------------

OFFERED = (*ike_proposals("aes256gcm16-aes128gcm16-prfsha256-prfsha384-x25519"),)
ACCEPTED = ike(GCM, SHA, X25519)


@pytest.mark.requirement("IKE-110")
def test_a_proper_answer_passes() -> None:
    for accepted in (ACCEPTED, ike(*ACCEPTED.transforms[::-1]), changed(ACCEPTED, spi=bytes(8))):
        assert accepted_proposal(OFFERED, [accepted]) is accepted


@pytest.mark.requirement("IKE-110", "IKE-256")
def test_none_may_be_said_or_left_out_in_an_answer() -> None:
    accepted_proposal(OFFERED, [ike(*ACCEPTED.transforms, NO_MAC)])
    accepted_proposal([ike(*ACCEPTED.transforms, NO_MAC)], [ACCEPTED])
    accepted_proposal([esp(GCM, NO_ESN, X25519, NO_KE)], [esp(GCM, NO_ESN)])
    with pytest.raises(NoProposalChosen):
        accepted_proposal([esp(GCM, NO_ESN, X25519)], [esp(GCM, NO_ESN)])
    with pytest.raises(NoProposalChosen):
        accepted_proposal([esp(GCM, NO_ESN, X25519)], [esp(GCM, NO_ESN, NO_KE)])


@pytest.mark.requirement("IKE-110", "IKE-111", "IKE-250")
@pytest.mark.parametrize(
    "bad",
    [
        changed(ACCEPTED, number=2),
        changed(ACCEPTED, number=0),
        changed(ACCEPTED, protocol=Protocol.ESP),
        ike(Transform(ENCR, Encr.AES_GCM_16, (Attribute(14, 192),)), SHA, X25519),
        ike(Transform(ENCR, Encr.AES_GCM_16), SHA, X25519),
        ike(Transform(ENCR, Encr.AES_GCM_16, (Attribute(14, 256), Attribute(99, 1))), SHA, X25519),
        ike(Transform(ENCR, Encr.AES_GCM_16, (Attribute(14, b"\1\0"),)), SHA, X25519),
        ike(GCM, SHA, X25519, MAC),
        ike(GCM, SHA, X25519, NO_ESN),
        ike(GCM, SHA, X25519, Transform(PRF, Prf.HMAC_SHA2_384)),
        ike(GCM, GCM, SHA, X25519),
        ike(GCM, SHA),
        ike(SHA, X25519),
        ike(GCM, SHA, NO_KE),
        ike(GCM, Transform(PRF, Prf.HMAC_SHA2_512), X25519),
        ike(),
    ],
)
def test_an_answer_that_differs_from_the_offer_is_refused(bad: Proposal) -> None:
    for _ in range(2):
        accepted_proposal(OFFERED, [ACCEPTED])
        with pytest.raises(NoProposalChosen):
            accepted_proposal(OFFERED, [bad])


@pytest.mark.requirement("IKE-110")
def test_an_answer_holds_one_proposal() -> None:
    for answer in ((), (ACCEPTED, ACCEPTED), (ACCEPTED, changed(ACCEPTED, number=2))):
        with pytest.raises(NoProposalChosen, match=f"{len(answer)} proposals instead of one"):
            accepted_proposal(OFFERED, answer)


def test_answers_that_fit_are_remembered_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(negotiation, "_STORED", 8)
    negotiation._FITTING.clear()
    for number in range(1000, 1100):
        private = Transform(PRF, number)
        accepted_proposal([ike(GCM, private, X25519)], [ike(GCM, private, X25519)])
        assert 0 < len(negotiation._FITTING) <= 8
    negotiation._FITTING.clear()
    many = [Transform(PRF, number) for number in range(200)]
    accepted_proposal([ike(GCM, *many, X25519)], [ike(GCM, many[0], X25519)])
    assert not negotiation._FITTING
