from relion_jobs.running.progress import PROGRESS_LINE, ProgressMeter, duration


def test_rate_and_time_left_come_from_what_was_counted_since_the_stage_began():
    meter = ProgressMeter()
    assert meter.line("epoch 1", 0, 100, "images", now=10.0, figures={}) == "epoch 1: 0/100 images (0 %)"
    line = meter.line("epoch 1", 40, 100, "images", now=14.0, figures={"loss": 0.25, "rms_motion": 3.0})
    assert line == "epoch 1: 40/100 images (40 %), 10 images/s, 6 s left, loss 0.25, rms motion 3"
    assert meter.line("epoch 1", 100, 100, "images", now=20.0, figures={}).endswith("10 images/s, took 10 s")


def test_another_stage_and_a_count_that_goes_back_start_afresh():
    meter = ProgressMeter()
    meter.line("a", 50, 100, "images", now=0.0, figures={})
    assert "left" not in meter.line("a", 10, 100, "images", now=5.0, figures={})
    assert "20 images/s" in meter.line("a", 30, 100, "images", now=6.0, figures={})
    assert "left" not in meter.line("b", 40, 100, "images", now=7.0, figures={})


def test_a_stage_of_nothing_is_done():
    assert ProgressMeter().line("a", 0, 0, "images", now=0.0, figures={}) == "a: 0/0 images (100 %)"


def test_durations_are_said_as_people_say_them():
    assert [duration(seconds) for seconds in (0.2, 59, 61, 3600, 90061)] == [
        "0 s",
        "59 s",
        "1 min 1 s",
        "1 h 0 min",
        "25 h 1 min",
    ]


def test_a_terminal_can_tell_progress_from_other_lines():
    assert PROGRESS_LINE.match(ProgressMeter().line("half 1, epoch 3", 1, 9, "images", now=0.0, figures={}))
    assert not PROGRESS_LINE.match("Counting 20 particles from row 0.")
