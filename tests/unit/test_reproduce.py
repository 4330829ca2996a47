"""`ssld reproduce`: published weights on the inputs of their card, or the recipe, into the ledger."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ssld import cli, models, weights
from ssld.arguments import parser
from ssld.commands import reproduce
from ssld.config import cards
from ssld.config.cards import AtSize
from ssld.data import FileList, fake
from ssld.report import published_and_measured
from tests.unit.weights_files import published, write_pdparams

ARCH = "MobileNetV3_small_x0_35"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Eight images of four classes, a network that names class 3 whatever it sees, and a card of two tiny inputs."""
    fake(tmp_path / "imagenet", 4, train=0, unlabelled=0, val=8, size=40)
    (tmp_path / "imagenet" / "val.txt").rename(tmp_path / "imagenet" / "val_list.txt")
    network = models.create(ARCH)
    network.head.fc.weight.set_value(np.zeros([1280, 1000], "float32"))
    network.head.fc.bias.set_value(np.eye(1000, dtype="float32")[3])
    weights.save(network, tmp_path / "mine.safetensors")
    state = {key: value.numpy() for key, value in network.state_dict().items()}
    (tmp_path / "mirror").mkdir()
    file = cards.find_weights(ARCH)[1].url.rpartition("/")[2]
    write_pdparams(tmp_path / "mirror" / file, published(ARCH, state))
    found = cards.find_model(ARCH)
    card = replace(
        found,
        input=replace(found.input, size=32, resize=36),
        claim=replace(found.claim, also_at={48: AtSize(resize=48, top1=24.0)}),
    )
    monkeypatch.setattr(cards, "find_model", lambda name: card if name == ARCH else found)
    monkeypatch.setattr(cards, "models", lambda: {ARCH: card})
    monkeypatch.chdir(tmp_path)
    return tmp_path


def reproduced(capsys, *words: str) -> dict:
    cli.main(["reproduce", ARCH, "--device", "cpu", *words, "--json"])
    return json.loads(capsys.readouterr().out)


def recorded() -> dict[Path, dict]:
    return {file: json.loads(file.read_text()) for file in sorted(Path("experiments/results").glob("*/*.json"))}


def test_published_weights_are_evaluated_on_every_input_of_the_card_and_recorded(place, capsys):
    told = reproduced(capsys, "--mirror", "mirror")
    assert told["ledger"] == "experiments/REPORT.md"
    assert [(row["input"], row["images"], row["published"], row["measured"]) for row in told["rows"]] == [
        (32, 8, 53.03, 25.0),
        (48, 8, 24.0, 25.0),
    ]
    assert [(row["difference"], row["standard_error"], row["scope"]) for row in told["rows"]] == [
        (None, None, "reduced")
    ] * 2  # eight drawn images are not those that the claim is of
    found = recorded()
    assert sorted(map(str, found)) == sorted(row["result"] for row in told["rows"])
    for file, result in found.items():
        assert file.parent.name == ARCH
        assert result["digest"].startswith(file.stem)
        assert (result["kind"], result["weights"]["published"]) == ("evaluation", True)
        assert result["weights"]["url"] == cards.find_weights(ARCH)[1].url
    assert {(one["input"]["size"], one["input"]["resize"]) for one in found.values()} == {(32, 36), (48, 48)}
    page = Path("experiments/REPORT.md").read_text()
    assert f"| {ARCH} | published weights | 48 | 24.00 | 25.00 | - | reduced: 8 images |" in page
    assert published_and_measured.check(Path("experiments"))


def test_a_file_serves_instead_of_the_published_ones_and_says_its_name(place, capsys):
    told = reproduced(capsys, "--weights", "mine.safetensors", "--data", "imagenet/val")
    assert [row["measured"] for row in told["rows"]] == [25.0, 25.0]
    assert "weights of mine.safetensors" in Path("experiments/REPORT.md").read_text()


def test_weights_that_cannot_be_had_are_one_line(place):
    with pytest.raises(
        SystemExit, match=r"^ssld reproduce: .*: is not there, and offline nothing is downloaded; `ssld"
    ):
        cli.main(["reproduce", ARCH, "--offline"])
    with pytest.raises(SystemExit, match=r"^ssld reproduce: gone.safetensors: no such file"):
        cli.main(["reproduce", ARCH, "--weights", "gone.safetensors"])
    assert not Path("experiments").exists()


def test_what_was_measured_before_is_not_measured_again(place, capsys, monkeypatch):
    first, before = reproduced(capsys, "--weights", "mine.safetensors"), recorded()
    monkeypatch.setattr(reproduce, "scores_on", None)  # would be called for a new measurement
    assert reproduced(capsys, "--weights", "mine.safetensors") == first
    assert recorded() == before


def test_another_list_and_other_weights_are_other_measurements_beside_the_first(place, capsys):
    reproduced(capsys, "--weights", "mine.safetensors")
    before = recorded()
    lines = Path("imagenet/val_list.txt").read_text().splitlines()
    Path("imagenet/few.txt").write_text("\n".join(line for line in lines if line.endswith(" 3")))
    few = reproduced(capsys, "--weights", "mine.safetensors", "--data", "imagenet/few.txt")
    assert [(row["images"], row["measured"]) for row in few["rows"]] == [(2, 100.0), (2, 100.0)]
    network = models.create(ARCH)
    network.head.fc.weight.set_value(np.zeros([1280, 1000], "float32"))
    weights.save(network, "other.safetensors")
    reproduced(capsys, "--weights", "other.safetensors")
    assert len(recorded()) == 6
    assert before.items() <= recorded().items()


def test_the_network_of_another_revision_is_another_measurement(place, monkeypatch):
    """The same numbers in a network that 1.x built otherwise answer otherwise."""
    seen = []
    monkeypatch.setattr(reproduce, "json_digest", lambda value: seen.append(value) or "ab" * 32)
    monkeypatch.setattr(reproduce, "scores_on", lambda *args: {"top1": 25.0, "top5": 100.0, "loss": 1.0})
    cli.main(["reproduce", ARCH, "--device", "cpu", "--weights", "mine.safetensors"])
    assert seen[0]["revision"] == "2.x"
    assert set(seen[0]) == {"model", "list", "weights", "revision", "input"}


def test_the_whole_validation_set_is_full_whatever_its_order_and_a_doubled_image_counts_once():
    labels = np.repeat(np.arange(1000), 50)
    paths = [f"val/{number}.JPEG" for number in range(50_000)]
    assert reproduce._covered(FileList(paths, labels)) == "full"
    assert reproduce._covered(FileList(paths[::-1], labels[::-1])) == "full"
    assert reproduce._covered(FileList(paths[:-1], labels[:-1])) == "reduced"
    assert reproduce._covered(FileList([*paths[:-1], paths[0]], labels)) == "reduced"


def test_train_takes_the_recipe_of_the_card_by_the_road_of_run_and_ends_in_the_ledger(tmp_path, monkeypatch, capsys):
    called = []

    def run_seeds(*given, **options):
        called.append((given, options))
        (tmp_path / "experiments").mkdir()
        return {"report": str(tmp_path / "experiments" / "x.md"), "runs": ["runs/x"]}

    monkeypatch.setattr(reproduce, "run_seeds", run_seeds)
    words = ["MobileNetV3_large_x1_0_ssld", "--train", "--seeds", "3", "stages.distill.epochs=6", "--out", "there"]
    cli.main(["reproduce", *words, "--ranks", "2"])
    told = json.loads(capsys.readouterr().out)
    (((plan, recipe, overrides), given),) = called
    assert (plan.name, plan.stages["distill"].epochs) == ("mobilenet_v3_large_x1_0_ssld", 6)
    assert recipe == "recipes/mobilenet_v3_large_x1_0_ssld.yaml"
    assert (given["seeds"], overrides, given["out"]) == (3, ["stages.distill.epochs=6"], "there")
    assert given["options"].ranks == "2"
    assert told["ledger"] == str(tmp_path / "experiments" / "REPORT.md")
    assert published_and_measured.check(tmp_path / "experiments")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["ResNet50_vd_sld"], "no model named 'ResNet50_vd_sld'; did you mean 'ResNet50_vd_ssld'?"),
        (["ResNet50_vd_ssld"], "imagenet/val: no list file there; recipes count from `data`"),
        (["ResNet50_vd_v2", "--train"], "ResNet50_vd_v2: its card names no recipe; `ssld list recipes` prints"),
    ],
)
def test_what_cannot_be_reproduced_is_one_line(words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SSLD_DATA", raising=False)
    with pytest.raises(SystemExit) as caught:
        cli.main(["reproduce", *words])
    assert message in str(caught.value)
    assert str(caught.value).startswith("ssld reproduce: ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--smoke"], "--smoke belongs to --train; add it, or leave --smoke out"),
        (["seed=2"], "key.path=value belongs to --train"),
        (["--train", "--data", "x"], "--data belongs to an evaluation of weights; leave --train out"),
        (["--train", "--weights", "x"], "not allowed with argument"),
    ],
)
def test_options_of_the_other_road_are_refused(words, message, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["reproduce", "ResNet50_vd_ssld", *words])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_an_option_that_is_not_given_is_one_of_neither_way():
    """The command line says by these values that an option was not given."""
    given = vars(parser().parse_args(["reproduce", "ResNet18"]))
    absent = reproduce.OF_WEIGHTS | reproduce.OF_TRAINING
    assert {name: given[name] for name in absent} == absent
