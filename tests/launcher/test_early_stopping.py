"""early_stopping_patience ends a training that does not get better."""

import pytest
from reference.program import make_rows, save_bert, state_of, train, write_csv


@pytest.mark.parametrize("patience, epochs", [(1, 2), (3, 4), (None, 6)])
def test_patience(tmp_path, patience, epochs):
    save_bert(tmp_path / "model")
    write_csv(tmp_path / "rows.csv", make_rows(16))
    options = {} if patience is None else {"early_stopping_patience": patience}
    # Nothing moves without a learning rate: the first evaluation stays the best one.
    train(tmp_path / "model", tmp_path / "out", train_file=tmp_path / "rows.csv", validation_file=tmp_path / "rows.csv",
          global_batch_size=8, num_train_epochs=6, learning_rate=0, **options)
    state = state_of(tmp_path / "out")
    assert state["global_step"] == 2 * epochs
    assert state["best_global_step"] == 2
