"""The file of a run that goes on, and the table made of it."""

import json
from pathlib import Path

from benchmarks.sickness_results import BEGIN, END, FILE, PAGE, Report, Results, markdown, page_with


def test_what_was_found_is_kept_after_each_case(tmp_path: Path) -> None:
    file = tmp_path / "sickness.json"
    results = Results(file)
    for name in ("redis-full", "disk-full"):
        results.add("cases", Report(name, jobs=50, recovered_s=4.0))
    results.add("stock", Report("redis-full", jobs=49, lost=1))
    held = json.loads(file.read_text())["result"]
    assert held == results.as_dict()
    assert held["jobs"] == 100  # ours alone
    assert [path.name for path in tmp_path.iterdir()] == ["sickness.json"]


def test_a_run_goes_on_with_what_is_not_found_yet_or_broke(tmp_path: Path) -> None:
    file = tmp_path / "sickness.json"
    before = Results(file)
    before.add("cases", Report("redis-full", jobs=50))
    before.add("cases", Report("disk-full", broke="TooMuchMemory: s3 holds 4.1 GB of memory"))
    after = Results(file, resume=True)
    assert after.has("cases", "redis-full")
    assert not after.has("cases", "disk-full")
    assert not after.has("stock", "redis-full")
    assert after.as_dict()["jobs"] == 50
    assert not Results(file).has("cases", "redis-full")
    assert not Results(file, resume=True).has("cases", "redis-full")  # it was begun anew


def test_the_table_hides_nothing() -> None:
    result = {
        "jobs": 100,
        "cases": [
            vars(Report("redis-full", jobs=50, recovered_s=4.0)),
            vars(Report("disk-full", jobs=50, lost=2, silent=1)),
            vars(Report("files-exhausted", broke="OSError: no")),
        ],
        "stock": [vars(Report("redis-full", jobs=50, twice=3, recovered_s=61.25))],
    }
    first, *rows = markdown(result).splitlines()
    assert first == (
        "100 jobs in 3 sicknesses: 2 lost, 0 written twice, 0 healthy ones made failures, "
        "1 silent; well again after 4.0 s (median), 4.0 s at most; 2 never."
    )
    assert rows[3:] == [
        "| Redis full | 4.0 s | 61.2 s; 3 twice |",
        "| Disk full | never; 2 lost; 1 silent | - |",
        "| Files exhausted | never; the program broke | - |",
    ]


def test_a_table_is_written_over_the_one_before() -> None:
    page = page_with("old", f"above\n\n{BEGIN}\n{END}\n\nbelow\n")
    assert page == f"above\n\n{BEGIN}\n\nold\n\n{END}\n\nbelow\n"
    assert page_with("new", page) == page.replace("old", "new")


def test_the_page_shows_what_was_found() -> None:
    result = json.loads(FILE.read_text())["result"]
    page = PAGE.read_text()
    assert page_with(markdown(result), page) == page, "python -m benchmarks.sickness_results"
    assert result["jobs"] >= 2000
    for one in result["cases"]:
        for nothing in ("lost", "twice", "healthy_failed", "silent"):
            assert one[nothing] == 0, one
        assert one["recovered_s"] <= 30, one
