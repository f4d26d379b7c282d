"""What is left out when more arrives than can be scored, and when it is taken up again."""

from detector.live.overload import COALESCED_MESSAGES, LEVELS, STEP_S, TURN_S, Overload


def run(
    load: Overload, begin: int, seconds: int, arriving: float, scored: list[float], unread: float = 0.0
) -> list[int]:
    """Levels, second by second: so many messages a second arrive, so many are scored at each level."""
    levels = []
    for second in range(begin, begin + seconds):
        unread = max(0.0, unread + arriving - scored[load.level])
        levels.append(load.observe(float(second), round(unread)))
    return levels


def test_who_keeps_up_leaves_nothing_out() -> None:
    load = Overload()
    assert set(run(load, 0, 600, 100, [100] * 5)) == {0}
    assert (load.apart, load.teacher) == (1, True)
    load.judged(1000, 0.1)
    assert load.messages(64) == 64


def test_a_batch_holds_what_is_judged_in_a_moment() -> None:
    load = Overload()
    run(load, 0, 20, 1000, [100] * 5)
    for seconds, most in ((0.001, COALESCED_MESSAGES), (1.0, 64 * TURN_S), (100.0, 64)):
        load.judged(64, seconds)
        assert load.messages(64) == most


def test_a_backlog_that_larger_batches_bring_down_changes_nothing_else() -> None:
    levels = run(Overload(), 0, 600, 10, [20, 100, 200, 400, 800], unread=10_000)
    assert set(levels) == {0, 1}
    assert levels[-1] == 0


def test_ten_times_too_much_is_judged_more_coarsely_and_heals() -> None:
    load = Overload()
    during = run(load, 0, 300, 1000, [100, 300, 1200, 4000, 5000])
    assert sorted(set(during)) == [0, 1, 2]
    assert during[70:].count(2) > 150
    after = run(load, 300, 600, 100, [100, 300, 1200, 4000, 5000], unread=20_000)
    assert after[-1] == 0


def test_as_far_as_it_goes() -> None:
    load = Overload()
    assert max(run(load, 0, 600, 10_000, [100, 300, 1200, 4000, 5000])) == len(LEVELS) - 1
    assert (load.apart, load.teacher) == (64, False)


def test_steps_down_that_were_too_early_become_rarer() -> None:
    load = Overload()
    levels = run(load, 0, 3600, 1000, [100, 300, 1200, 4000, 5000])
    downs = [at for at in range(1, len(levels)) if levels[at] < levels[at - 1]]
    assert 2 <= len(downs) <= 8
    assert downs[-1] - downs[-2] > 4 * STEP_S
    assert levels.count(2) > 3000
