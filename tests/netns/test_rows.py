"""The benchmark's rows about correctness (tests/bench), small: every claim of theirs but those about time."""
import json
import os
import pathlib
import subprocess

ROWS = pathlib.Path(__file__).resolve().parents[1] / "bench"


def run_row(name, directory, *options):
    """A row in a lab of its own; all that it claims holds."""
    done = subprocess.run(
        ["/usr/bin/python3", "-B", ROWS / f"{name}.py", *map(str, options)],
        env={**os.environ, "SLUICE_BENCH_DIRECTORY": str(directory)},
        capture_output=True,
        text=True,
        timeout=200,
    )
    told = done.stdout + done.stderr
    claims = json.loads((directory / f"{name.replace('_', '-')}.json").read_text())["claims"] if done.stdout else []
    assert claims and all(claim["holds"] for claim in claims), told
    assert done.returncode == 0, told


def test_transfers_of_every_behaviour_arrive_whole_or_right_until_their_reset(tmp_path):
    run_row("transfers", tmp_path, "--mebibytes", 16, "--connections", 72, "--most-mebibytes", 1)


def test_short_calls_at_full_speed_are_all_answered_and_nothing_is_kept_of_them(tmp_path):
    run_row("short_calls", tmp_path, "--connections", 10000)


def test_hellos_on_a_way_that_loses_doubles_and_delays_are_all_answered(tmp_path):
    run_row("lossy_hello", tmp_path, "--connections", 1600, "--at-once", 800)


def test_under_an_agent_that_is_killed_every_second_transfers_complete_and_no_call_hangs(tmp_path):
    run_row("restarts", tmp_path, "--transfers", 100, "--rate", 50, "--seconds", 6)


def test_a_pods_burst_leaves_another_pods_calls_answered(tmp_path):
    run_row("fair_queue", tmp_path, "--rounds", 1, "--seconds", 1, "--rate", 3000, "--no-times")


def test_very_many_flows_and_hosts_change_no_answer(tmp_path):
    run_row("growth", tmp_path, "--rounds", 1, "--many", 10000, "--messages", 10000, "--hosts", 10000, "--no-times")
