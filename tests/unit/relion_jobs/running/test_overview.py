from relion_jobs.running.overview import last_lines, table


def test_tables_are_aligned():
    assert table([("A", "LONG", "x"), ("abc", "b", "")]) == ["A    LONG  x", "abc  b"]


def test_the_last_lines_of_a_log_leave_out_what_was_overwritten(tmp_path):
    log = tmp_path / "run.out"
    assert last_lines(log, 3) == []
    log.write_text("one\n\nold\rnew\nthree\n" * 5000)
    assert last_lines(log, 2) == ["new", "three"]
