"""Pages that fall behind."""

from streamer.console.hub import MOST_WAITING, Hub


def test_a_page_that_falls_behind_is_told_to_read_anew_and_the_others_go_on() -> None:
    hub = Hub()
    with hub.joined() as slow, hub.joined() as quick:
        heard = 0
        for number in range(MOST_WAITING + 1):
            hub.say("incident", {"number": number})
            quick.get_nowait()
            heard += 1
        assert heard == MOST_WAITING + 1
        assert [slow.get_nowait().name for _ in range(slow.qsize())] == ["reset", "incident"]
    assert hub.pages == 0
    hub.say("incident", {})  # nobody listens
