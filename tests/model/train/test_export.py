"""The weights that runs leave, and the mean of several runs."""

from datetime import date
from pathlib import Path

import pytest
import torch

from distilpose.model.card import Card
from distilpose.model.configs import network_config
from distilpose.model.errors import WeightsError
from distilpose.model.networks import construct
from distilpose.model.train.export import write_mean
from distilpose.model.weights import load, read_tensors, save


def run_of(path: Path, seed: int, *, network: str = "distilpose-n", crops: int | None) -> Path:
    """Random weights with the card of a run."""
    torch.manual_seed(seed)
    card = Card(
        architecture=network,
        version=f"0+{seed}",
        created=date(2026, 1, 1),
        source="Random.",
        training_data="None.",
        licences=("Anybody's.", f"Licence {seed}."),
        limitations=(),
        crops_seen=crops,
        calibrated=False,
    )
    save(path, construct(network_config(network)).state_dict(), card)
    return path


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("runs")
    return [
        run_of(folder / f"{seed}.safetensors", seed, crops=crops)
        for seed, crops in enumerate([100, 300, None])
    ]


def test_each_weight_is_the_mean_of_the_runs(runs: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "mean.safetensors"
    write_mean(out, runs)
    read = [read_tensors(run)[0] for run in runs]
    for name, mean in read_tensors(out)[0].items():
        expected = sum(tensors[name].double() for tensors in read) / len(read)
        assert torch.equal(mean, torch.as_tensor(expected).to(mean.dtype)), name


def test_the_mean_is_a_network_that_answers(runs: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "mean.safetensors"
    write_mean(out, runs)
    with torch.inference_mode():
        answer = load(out).network(torch.zeros(1, 3, 256, 192))
    assert all(torch.isfinite(part).all() for part in answer if isinstance(part, torch.Tensor))


def test_the_card_names_each_run_and_keeps_all_licences(runs: list[Path], tmp_path: Path) -> None:
    card = write_mean(tmp_path / "mean.safetensors", runs)
    digests = [read_tensors(run)[2][:16] for run in runs]
    assert card.source == (
        "Mean of the weights of 3 runs: "
        f"distilpose-n 0+0 (0.safetensors, sha256 {digests[0]}); "
        f"distilpose-n 0+1 (1.safetensors, sha256 {digests[1]}); "
        f"distilpose-n 0+2 (2.safetensors, sha256 {digests[2]})."
    )
    assert card.licences == ("Anybody's.", "Licence 0.", "Licence 1.", "Licence 2.")
    assert card.training_data == "None."
    assert card.crops_seen == 300
    assert not card.calibrated
    assert load(tmp_path / "mean.safetensors").card == card


def test_other_networks_have_no_mean(runs: list[Path], tmp_path: Path) -> None:
    other = run_of(tmp_path / "other.safetensors", 9, network="tokenpose-n", crops=None)
    out = tmp_path / "mean.safetensors"
    with pytest.raises(WeightsError, match=r"other\.safetensors: is of tokenpose-n, .* no mean"):
        write_mean(out, [runs[0], other])
    assert not out.exists()
