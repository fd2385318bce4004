from securecall.xmpp.management import Management


def test_what_is_done_behind_what_waits_is_not_undone():
    kept = Management(resume_id="x")
    waits, _ = kept.arrived("message 1")
    for number in range(2000):
        behind, new = kept.arrived(f"result {number}")
        assert new
        kept.done(behind)
    assert kept.undone == 1
    assert kept.handled == 0
    kept.done(waits)
    assert (kept.undone, kept.handled) == (0, 2001)


def test_what_is_sent_again_and_was_done_behind_what_waits_is_not_new():
    kept = Management(resume_id="x")
    first, _ = kept.arrived("message 1")
    second, _ = kept.arrived("message 2")
    kept.done(second)
    assert kept.resuming() == 0
    assert kept.arrived("message 1") == (first, False)
    assert kept.arrived("message 2") == (second, False)
    assert kept.undone == 1


def test_what_waits_weighs_until_it_is_done():
    kept = Management()
    for name, size in (("a", 100), ("b", 10), ("c", 1)):
        kept.arrived(name, size)
    kept.done(2)
    kept.done(2)
    assert kept.undone_bytes == 101
    kept.resuming()
    kept.arrived("a", 100)  # the same, again
    assert kept.undone_bytes == 101
    kept.arrived("another b", 20)  # the server counts otherwise than we do
    kept.done(1)
    kept.done(3)
    assert kept.undone_bytes == 20
    kept.done(2)
    assert kept.undone_bytes == 0


def test_what_is_not_to_go_out_again_counts_for_neither_side():
    kept = Management(resume_id="x")
    taken = []
    fates = {b"a": None, b"bb": b"bb", b"ccc": None, b"d": b"changed"}
    for data, fate in fates.items():
        kept.sending(data, lambda data=data: taken.append(data), lambda fate=fate: fate)
    kept.sending(b"plain", None)
    for one in kept.receive_ack("1"):
        one()
    assert kept.sending_again() == (b"bb", b"changed", b"plain")
    assert (kept.waiting, kept.sent) == (3, 4)
    for one in kept.receive_ack("4"):
        one()
    assert taken == [b"a", b"bb", b"d"]
