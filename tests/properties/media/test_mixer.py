"""Whatever people say, everybody hears the sum of the others: exactly, or turned down."""

from __future__ import annotations

from array import array

from hypothesis import given, settings
from hypothesis import strategies as st

from securecall.media.description import Gate
from securecall.media.mixer import Mixer

N = 24
FRAMES = st.lists(
    st.sampled_from([-32768, -1, 0, 1, 32767]) | st.integers(-32768, 32767), min_size=N, max_size=N
)


@given(people=st.lists(FRAMES, min_size=1, max_size=8), ours=FRAMES)
@settings(max_examples=50)
def test_sums_are_exact_where_they_fit_and_keep_their_sign_where_not(people, ours):
    mixer = Mixer()
    for name in range(len(people)):
        mixer.add(name)
    said = {n: (Gate.OPEN, array("h", values).tobytes()) for n, values in enumerate(people)}
    mixed = mixer.mix(said, array("h", ours).tobytes(), live=True, samples=N)
    everybody = [*people, ours]
    for listener, heard in [*mixed.to.items(), (len(people), mixed.local)]:
        others = [values for n, values in enumerate(everybody) if n != listener]
        sums = [sum(column) for column in zip(*others, strict=True)]
        got = array("h", heard).tolist()
        if min(sums) >= -32768 and max(sums) <= 32767:
            assert got == sums
            continue
        assert len(got) == N
        assert max(map(abs, got)) <= 32767
        assert all(
            total * value >= 0 or value == -1 for total, value in zip(sums, got, strict=True)
        )


@given(
    frames=st.lists(FRAMES, min_size=2, max_size=2),
    gains=st.lists(st.floats(-60, 12), min_size=2, max_size=2),
)
@settings(max_examples=50)
def test_a_gain_changes_one_person_for_all_others_alone(frames, gains):
    mixer = Mixer()
    for name, gain_db in enumerate(gains):
        mixer.add(name, gain_db=gain_db)
    said = {n: (Gate.OPEN, array("h", values).tobytes()) for n, values in enumerate(frames)}
    mixed = mixer.mix(said, None, live=True, samples=N)
    for listener in (0, 1):
        factor = 10 ** (gains[1 - listener] / 20)
        wanted = [v * factor for v in frames[1 - listener]]
        if max(map(abs, wanted)) > 32000:
            continue
        got = array("h", mixed.to[listener]).tolist()
        assert all(abs(w - g) <= 1.001 + abs(w) * 0.07 for w, g in zip(wanted, got, strict=True))
