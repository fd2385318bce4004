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
