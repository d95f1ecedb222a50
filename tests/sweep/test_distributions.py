"""The trials of random and Sobol searches against the distributions' definitions in scipy."""

import csv
import itertools
import json

import numpy
import pytest
from reference.program import run
from scipy import stats
from scipy.stats import qmc

COMMON = """
model_name_or_path = "model"
train_file = "{train_file}"
validation_split = 0.1
output_dir = "sweep"
"""


def plan(tmp_path, sweep, *arguments):
    train_file = tmp_path / "train.csv"
    train_file.write_text("text,label\na,0\nb,1\n")
    config, output = tmp_path / "sweep.toml", tmp_path / "plan.jsonl"
    config.write_text(COMMON.format(train_file=train_file) + sweep)
    run("sweep", "plan", "--config", str(config), "--output_file", str(output), *arguments)
    return [json.loads(line) for line in output.read_text().splitlines()]


def values_of(tmp_path, parameter, method="random", count=2000, name="weight_decay", seed=7):
    sweep = f"""
[sweep]
method = "{method}"
run_cap = {count}
seed = {seed}
[sweep.parameters]
{name} = {{{parameter}}}
learning_rate = {{distribution = "uniform", min = 0, max = 1}}  # so that no two trials are the same
"""
    trials = plan(tmp_path, sweep)
    assert [trial["trial"] for trial in trials] == list(range(count))
    return [trial[name] for trial in trials]


CONTINUOUS = {
    "uniform": ('distribution = "uniform", min = 0.5, max = 3', stats.uniform(0.5, 2.5)),
    "log_uniform_values": ('distribution = "log_uniform_values", min = 1e-6, max = 1e-2', stats.loguniform(1e-6, 1e-2)),
    "normal": ('distribution = "normal", mu = 9, sigma = 0.5', stats.norm(9, 0.5)),
}


@pytest.mark.parametrize("method", ["random", "sobol"])
@pytest.mark.parametrize("name", CONTINUOUS)
def test_continuous_distributions(tmp_path, name, method):
    parameter, distribution = CONTINUOUS[name]
    values = values_of(tmp_path, parameter, method)
    assert stats.kstest(values, distribution.cdf).pvalue > 0.01
    if method == "sobol":  # far more even than chance
        assert stats.kstest(values, distribution.cdf).statistic < 0.003


DISCRETE = {
    "int_uniform": ('distribution = "int_uniform", min = 3, max = 9', {value: 1 / 7 for value in range(3, 10)}),
    # round(x / q) * q of a uniform x: the ends get half of what the others get.
    "q_uniform": ('distribution = "q_uniform", min = 0, max = 1, q = 0.25',
                  {0: 1 / 8, 0.25: 1 / 4, 0.5: 1 / 4, 0.75: 1 / 4, 1: 1 / 8}),
    "categorical": ("values = [1, 4, 2]", {1: 1 / 3, 4: 1 / 3, 2: 1 / 3}),
    "constant": ("value = 5", {5: 1}),
}


@pytest.mark.parametrize("method", ["random", "sobol"])
@pytest.mark.parametrize("name", DISCRETE)
def test_discrete_distributions(tmp_path, name, method):
    parameter, shares = DISCRETE[name]
    values = values_of(tmp_path, parameter, method, name="max_grad_norm")
    assert set(values) == set(shares)
    if len(shares) > 1:
        counts = [values.count(value) for value in shares]
        assert stats.chisquare(counts, [share * len(values) for share in shares.values()]).pvalue > 0.01


def test_whole_numbers_stay_whole(tmp_path):
    values = values_of(tmp_path, 'distribution = "q_uniform", min = 16, max = 64, q = 16', name="global_batch_size")
    assert set(map(str, values)) == {"16", "32", "48", "64"}


def test_parameters_of_a_random_search_are_independent(tmp_path):
    trials = plan(tmp_path, """
[sweep]
method = "random"
run_cap = 2000
[sweep.parameters]
learning_rate = {min = 0.0, max = 1.0}
weight_decay = {min = 0.0, max = 1.0}
""")
    rates, decays = ([trial[name] for trial in trials] for name in ("learning_rate", "weight_decay"))
    assert stats.spearmanr(rates, decays).pvalue > 0.01
    assert stats.spearmanr(rates[:-1], rates[1:]).pvalue > 0.01


def test_sobol_is_scipys_sequence_shifted(tmp_path):
    names = ["learning_rate", "weight_decay", "max_grad_norm", "adam_epsilon", "warmup_steps"]
    parameters = "".join(f"{name} = {{distribution = 'uniform', min = 0, max = {float(2**20)}}}\n" for name in names[:4])
    trials = plan(tmp_path, f'[sweep]\nmethod = "sobol"\nrun_cap = 64\nseed = 3\n[sweep.parameters]\n{parameters}')
    ours = numpy.array([[trial[name] for name in names[:4]] for trial in trials])
    reference = qmc.Sobol(4, scramble=False, bits=30).random(64) * 2**20
    shifts = ours.astype(numpy.int64) ^ reference.astype(numpy.int64)
    assert (shifts == shifts[0]).all(), "one shift a dimension"
    assert len(set(shifts[0])) == 4


def test_grid_is_the_product_in_order(tmp_path):
    trials = plan(tmp_path, """
[sweep]
method = "grid"
[sweep.parameters]
learning_rate = {values = [1e-3, 1e-4]}
freeze = {values = ["base", {first_layers = 2}, ["bert.*"]]}
seed = {min = 1, max = 3}
""")
    freezes = ["base", "{first_layers = 2}", '["bert.*"]']
    expected = list(itertools.product([1e-3, 1e-4], freezes, [1, 2, 3]))
    assert [(t["learning_rate"], t["freeze"], t["seed"]) for t in trials] == expected


def test_plan_prints_a_table_and_writes_csv(tmp_path):
    plan(tmp_path, '[sweep]\nmethod = "grid"\nparameters.freeze.values = ["base", ["a", "b"]]\n')
    printed = run("sweep", "plan", "--config", str(tmp_path / "sweep.toml")).stdout
    assert printed.startswith("2 trials\n") and "base" in printed
    run("sweep", "plan", "--config", str(tmp_path / "sweep.toml"), "--output_file", str(tmp_path / "plan.csv"))
    with open(tmp_path / "plan.csv", newline="") as file:
        assert list(csv.DictReader(file))[1] == {"trial": "1", "freeze": '["a", "b"]'}
    assert not (tmp_path / "sweep").exists(), "a plan leaves nothing behind"


def test_plan_names_impossible_and_duplicate_trials(tmp_path):
    plan(tmp_path, '[sweep]\nmethod = "grid"\nparameters.learning_rate.values = [1.0]\n')
    for values, message in [("[1.0, -1.0]", "trial 1: learning_rate: expected a number, at least 0"),
                            ("[1.0, 2.0, 1.0]", "trial 2 is the same as trial 0")]:
        config = tmp_path / "sweep.toml"
        config.write_text(COMMON.format(train_file=tmp_path / "train.csv")
                          + f'[sweep]\nmethod = "grid"\nparameters.learning_rate.values = {values}\n')
        done = run("sweep", "plan", "--config", str(config), check=False)
        assert done.returncode == 2 and message in done.stderr


def test_draws_are_the_same_today_as_ever(tmp_path):
    """Golden values: a trial of a sweep that somebody ran must stay what it was."""
    for method, golden in GOLDEN.items():
        values = values_of(tmp_path, 'distribution = "log_uniform_values", min = 1e-6, max = 1e-2', method, count=3)
        assert values == pytest.approx(golden, rel=1e-12, abs=0), method


GOLDEN = {"random": [5.281165525647096e-05, 0.0034760717680407337, 0.0041321086312975175],
          "sobol": [0.0008331221363391378, 8.331221363391368e-06, 8.331221363391377e-05]}
