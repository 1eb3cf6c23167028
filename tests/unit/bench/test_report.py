"""Goals, tables and charts of a run that is known in full."""

import dataclasses

import pytest

from bench.artifacts import Facts
from bench.goals import FAST, GOALS, OURS, PURE, Q, S, outcomes
from bench.report import markdown, table, write_report
from bench.results import MACHINE, Result, ShapeResult, read

FACTS = Facts("/model", "int4, block 128", "int4, block 64", 75_000_000, 134_000_000, 90_000_000)


@pytest.fixture
def shape():
    found = ShapeResult(S)
    for key in (OURS, PURE):
        found.facts[key] = FACTS
    for round_, machine_speed in enumerate((1.0, 0.5, 2.0)):  # rounds at full, half and double speed
        found.add(PURE, round_, {"decode_128": 100 * machine_speed, "start_s": 0.4, "repeat_plain": 100.0})
        found.add(
            PURE, round_, {"repeat_drafts_2": 120.0, "repeat_drafts_10": 110.0, "accepted_drafts_2": 0.4}
        )
        found.add(OURS, round_, {"decode_128": 96 * machine_speed, "start_s": 0.36, "repeat_drafts_0": 210.0})
        found.add(MACHINE, round_, {"bytes_per_s": 20e9})
    found.absent[FAST] = "the engine has no fast mode"
    return found


@pytest.fixture
def result(shape):
    machine = {
        "cpu": "CPU 1", "family": "family 25, model 1", "instruction_sets": ["avx2"], "cores": 2,
        "memory_gib": 8, "system": "Linux", "commit": "abc", "load": 0.1,
    }  # fmt: skip
    return Result("2026-11-24", "make bench", 3, 2, machine, {S: shape})


def verdicts(shape):
    return {outcome.goal.name: outcome.verdict for outcome in outcomes(shape)}


def test_goals_are_met_missed_or_not_measured(shape):
    """Rates must reach their limit, times must stay below it, and nothing is made up for who was absent."""
    found = verdicts(shape)
    assert found["decode, exact, vs llama.cpp pure"] == "met"  # 0.96 in every round, limit 0.95
    assert found["start to first token vs pure"] == "missed"  # 0.90, limit 0.85
    assert found["decode, fast, vs llama.cpp pure"] == "not measured"
    assert found["repeated text, exact, vs pure"] == "met"  # 2.1, limit 2.0


def test_the_peer_is_taken_at_its_best(shape):
    """Against llama.cpp's own prompt lookup, the draft length counts that suits it best."""
    goal = next(o for o in outcomes(shape) if o.goal.name == "repeated text, exact, vs pure's lookup")
    assert goal.ratio is not None
    assert goal.ratio.median == pytest.approx(210 / 120)


def test_a_goal_without_a_limit_is_only_reported(shape):
    """On a shape without limits, ratios are shown and not judged."""
    assert verdicts(dataclasses.replace(shape, shape="gpt2"))["start to first token vs pure"] == "reported"


def test_goals_name_known_contenders_and_shapes():
    """A misspelt key would silently mean `not measured`."""
    from bench.contenders import CONTENDERS

    keys = {contender.key for contender in CONTENDERS}
    for goal in GOALS:
        assert {goal.upper[0], goal.lower[0]} <= keys
        assert set(goal.limits) <= {S, Q}


def test_a_run_survives_its_file(result, tmp_path):
    """What is saved is read back equal, samples and all."""
    file = tmp_path / "run.json"
    result.save(file)
    assert read(file) == result


def test_the_report_says_what_stands_beside_each_figure(result):
    """Quantization, bits per weight, share of the bandwidth, machine, and who is missing and why."""
    text = markdown(result)
    assert "int4, block 128 | int4, block 64 | 4.48" in text  # 8 * 75 / 134
    assert "| 36% |" in text  # 96 tok/s * 75 MB of 20 GB/s
    assert "CPU 1 (family 25, model 1; avx2)" in text
    assert "- Dormouse, fast: the engine has no fast mode" in text
    assert "96.0 (72.0–144.0)" in text


def test_broken_exactness_is_said_aloud(result):
    """One differing hash among the ways to compute the same answer is reported as a broken promise."""
    way = {"threads": 1, "prompt": "whole", "drafts": False, "sha256": "a" * 64}
    shape = result.shapes[S]
    shape.exactness += [way, {**way, "drafts": True, "accepted": 3, "proposed": 9}]
    assert "All bit-identical." in markdown(result)
    assert "3 of 9" in markdown(result)
    shape.exactness.append({**way, "sha256": "b" * 64})
    assert "promise of exactness is broken" in markdown(result)


def test_a_table_has_as_many_columns_as_its_head():
    """Markdown's rule line fits the head."""
    assert table([["a", "b"], ["1", "2"]]) == ["| a | b |", "|---|---|", "| 1 | 2 |"]


def test_report_and_charts_are_written(result, tmp_path):
    """A saved run gives a table, and a chart of each shape in both formats."""
    file = tmp_path / "run.json"
    result.save(file)
    write_report(result, file)
    assert (tmp_path / "run.md").read_text().startswith("# Bench of 2026-11-24")
    assert (tmp_path / f"run.{S}.svg").read_text().count("Dormouse, exact")
    assert (tmp_path / f"run.{S}.png").read_bytes()[:4] == b"\x89PNG"
