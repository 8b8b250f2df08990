"""What the network may do to a run, as strategies, and how long things may take."""

from __future__ import annotations

from hypothesis import strategies as st

from ikecore.testing import Tcp, Udp

SHARE = st.sampled_from([0.0, 0.3, 0.6, 1.0])
DELAY = st.sampled_from([0.0, 0.01, 0.3, 3.0])
SOON = st.sampled_from([0.0, 0.005, 0.015, 0.025, 0.045, 0.3, 1.1, 3.0])
SECONDS = st.sampled_from([0.0, 0.005, 0.01, 0.015, 0.025, 0.045, 0.1, 0.5, 1.0, 2.1, 5.1, 8.1, 21.0, 70.0, 250.0])
DATAGRAMS = st.builds(
    Udp,
    delay=DELAY,
    jitter=st.sampled_from([0.0, 0.05, 2.0]),
    loss=SHARE,
    duplication=SHARE,
    reordering=SHARE,
    max_datagram=st.sampled_from([None, 1232, 300, 100]),
    unreachable=st.booleans(),
)
STREAMS = st.builds(
    Tcp,
    delay=DELAY,
    jitter=st.sampled_from([0.0, 0.05]),
    connect=st.sampled_from(["accept", "accept", "refuse", "silent"]),
    black_hole=st.sampled_from([False, False, True]),
    reset_after=st.sampled_from([None, None, 0.0, 0.005, 0.015, 0.025, 0.035, 1.0]),
    split=st.sampled_from([None, 1, 27, 28, 29, 100]),
    window=st.sampled_from([1, 100, 65_536]),
    read_rate=st.sampled_from([None, None, 0, 20, 1000]),
)
