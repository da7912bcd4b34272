"""The speed suite itself: what it times, that it compares like with like, and what its tables say."""

import argparse
import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from benchmarks.documents import marks
from benchmarks.speed import equivalence, ours, prediction, side, suite, tables
from benchmarks.speed.measure import Spread, seconds_of_round, whole_epochs
from benchmarks.speed.rows import FULL, NAMES, TINY, TRAINING, training_row
from benchmarks.speed.side import SideFailed
from benchmarks.speed.warm import warm
from benchmarks.speed.world import LABELS, LANGUAGES, World, build, read

from encoders import make_encoder
from glotune.run.records import Event
from small_runs import sentences


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A tiny encoder over made texts in the place of UMSAB's."""
    folder = tmp_path_factory.mktemp("speed")
    (folder / "umsab").mkdir()
    for number, language in enumerate(LANGUAGES):
        rows = sentences("en" if number % 2 else "es", 60, number)
        with (folder / "umsab" / f"{language}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, ["text", "label", "language", "split"])
            writer.writeheader()
            for index, row in enumerate(rows):
                split = "val" if index < 8 else "train"
                text = f"{row['text']} {language} {'lovely ' * (index % 9)}"
                writer.writerow({"text": text, "label": LABELS[index % 3], "language": language, "split": split})
    return build(folder, folder / "work", TINY)


def parsed(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    suite.add_arguments(parser)
    return parser.parse_args(["--data", "data", *arguments])


def test_a_sample_has_the_lengths_of_all_texts(world: World) -> None:
    lengths = json.loads((world.folder / f"lengths-{TINY.hidden}.json").read_text())
    place = {row["text"]: index for index, row in enumerate(read(world.train))}
    sample = [lengths[place[row["text"]]] for row in read(world.sample(64))]
    assert len(set(map(str, read(world.sample(64))))) == 64
    assert sum(sample) / 64 == pytest.approx(sum(lengths) / len(lengths), rel=0.03)


def test_the_covering_texts_use_every_token(world: World) -> None:
    from benchmarks.speed.world import tokenizer_of

    tokenizer = tokenizer_of(world)

    def used(path: Path) -> set[int]:
        return {token for row in read(path) for token in tokenizer(row["text"])["input_ids"]}

    assert used(world.cover) == used(world.folder / "all.csv")


@pytest.mark.parametrize("name", ["mbert-6-layers-frozen", "lora-r32"])
def test_both_engines_train_alike(world: World, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cached prefix, trimming, pooled last layer and adapters against Trainer on padded, accumulated batches."""
    monkeypatch.setenv("GLOTUNE_CACHE", str(world.cache))
    row = replace(training_row(name), learning_rate=1e-3)
    row = replace(row, layers=3, frozen_layers=1) if row.layers else row
    small = replace(row, batch_size=equivalence.BATCH, texts=equivalence.BATCH * 3)
    own, theirs = equivalence.jobs(small, world, 3)
    from benchmarks.speed import opponent

    found = ours.train(own)
    losses = found["losses"], opponent.train(theirs)["losses"]
    assert losses[0] == pytest.approx(losses[1], abs=equivalence.TOLERANCE)
    assert len(losses[0]) == 3
    assert abs(losses[0][0] - losses[0][-1]) > 1e-3  # it does train
    assert (found["fill_seconds"] > 0) == (name == "mbert-6-layers-frozen")


def test_what_follows_an_epoch_is_no_training_time() -> None:
    def step(number: int, seconds: float) -> Event:
        wall = {"wall": {"seconds": seconds}}
        return Event(kind="step", attempt=1, step=number, epoch=number / 2, time="", data=wall)

    steps = [step(1, 1.0), step(2, 1.0), step(3, 1.0), step(4, 1.0)]
    # Between the second and third step lie 5 s of evaluation; between the others 0.5 s of bookkeeping.
    assert ours.seconds_of_epochs(steps, [1.0, 2.5, 8.5, 10.0]) == pytest.approx([1.0 + 1.5, 1.0 + 1.5])


def test_a_sample_of_smaller_steps_is_not_charged_for_their_updates() -> None:
    result = {"texts": 64, "steps": 2}
    assert whole_epochs(seconds=66.0, updating=2.0, result=result, batch_size=512, texts=1024) == 1024 + 2


def test_the_cache_is_filled_once_and_shared_out_over_all_epochs() -> None:
    row = replace(training_row("mbert-6-layers-frozen"), texts=1024, epochs=10)
    authors = {"seconds": 100.0, "optimizer_seconds": 0.0, "texts": 1024, "steps": 1}
    best, own = {"epoch_seconds": [60.0, 50.0]}, {"epoch_seconds": [12.0, 10.0], "fill_seconds": 5.0}
    found = seconds_of_round(row, authors, best, own)
    assert found["authors"] == pytest.approx(1000.0)
    assert found["best"] == pytest.approx(60 + 9 * 50.0)  # memory grows in the first epoch alone
    assert found["glotune"] == pytest.approx(5.0 + 12 + 9 * 10.0)


def test_every_row_is_a_whole_number_of_steps() -> None:
    for row in TRAINING:
        assert row.texts % row.batch_size == 0
        assert all(row.batch_size % size == 0 for size in row.per_device)
        quick = suite.quick(row)
        assert quick.texts % quick.batch_size == 0
        assert all(quick.batch_size % size == 0 for size in quick.per_device)


def test_the_table_says_what_holds_and_what_was_not_measured(tmp_path: Path) -> None:
    ratios = {"authors": {"low": 25.0, "middle": 31.0, "high": 33.0}, "best": {"low": 2.0, "middle": 2.5, "high": 2.9}}
    path = tmp_path / "speed.json"
    tables.add_result(path, "mbert-6-layers-frozen", {"hidden": 768}, {"ratios": ratios})
    tables.add_result(path, "memory", {"hidden": 768}, {"ratios": {"best": {"low": 0.4, "middle": 0.45, "high": 0.5}}})
    lines = tables.table(tables.read_results(path)).splitlines()
    assert len(lines) == 2 + 2 * len(TRAINING) + 4
    assert "31.00 × (25.00–33.00) | aim" in lines[2]
    assert "2.50 × (2.00–2.90) | **missed**" in lines[3]
    assert "0.45 × (0.40–0.50) | floor" in next(line for line in lines if "peak memory" in line)
    assert "not measured" in next(line for line in lines if "`xlmr-6-layers`" in line)
    tables.add_result(path, "memory", {"hidden": 128}, {})
    small = next(line for line in tables.table(tables.read_results(path)).splitlines() if "peak memory" in line)
    assert small.endswith("| 128 wide: no measure |")


def test_parts_of_a_row_are_kept_when_another_is_measured(tmp_path: Path) -> None:
    path = tmp_path / "speed.json"
    tables.add_result(path, "lora-r32", {}, {"equivalence": {"steps": 20, "hidden": 64, "largest_difference": 2e-6}})
    tables.add_result(path, "lora-r32", {}, {"ratios": {}})
    assert "2.0e-06" in tables.equivalence_table(tables.read_results(path))


REAL = {"hidden": 384, "weights": "real", "ratios": {"best": {"low": 1.8, "middle": 1.9, "high": 2.1}}}


def test_real_weights_are_held_to_promises_of_their_own(tmp_path: Path) -> None:
    lines = tables.table({"rows": {"full-12-layers": REAL, "lora-r32": REAL}}).splitlines()
    assert next(line for line in lines if "12 layers, all" in line and "best" in line).split("|")[3:7] == [
        " 2 × ",
        " 2.5 × ",
        " 1.90 × (1.80–2.10) ",
        " **missed** ",
    ]
    assert next(line for line in lines if "LoRA" in line and "best" in line).split("|")[3:7] == [
        "  ",
        "  ",
        " 1.90 × (1.80–2.10) ",
        "  ",
    ]


def test_an_encoder_with_real_weights_takes_the_place_of_the_random_one(tmp_path: Path, world: World) -> None:
    from transformers import AutoModel, AutoModelForSequenceClassification

    encoder = make_encoder(tmp_path, "bert")
    taken = build(world.folder, world.folder, TINY, encoder)
    assert taken.encoder != world.encoder
    assert taken.sample(32) != world.sample(32)
    given = AutoModel.from_pretrained(encoder).state_dict()
    classifier = AutoModelForSequenceClassification.from_pretrained(taken.encoder)
    assert classifier.config.id2label == dict(enumerate(LABELS))
    held = classifier.base_model.state_dict()
    assert all(torch.equal(held[name], given[name]) for name in held)


def test_the_table_is_put_between_its_marks(tmp_path: Path) -> None:
    document = tmp_path / "performance.md"
    nothing, real = {"rows": {}}, {"rows": {"full-12-layers": REAL}}
    places = "\n".join(
        f"{begin}\nstale\n{end}" for begin, end in (marks(tables.place_of(each)) for each in (nothing, real))
    )
    document.write_text(f"before\n{places}\nafter\n")
    tables.put_into(document, nothing)
    assert document.read_text().count("stale") == 1
    tables.put_into(document, real)
    text = document.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "stale" not in text
    assert text.index("not measured") < text.index("1.90 × (1.80–2.10) | **missed**")
    assert text.count("| tokenizing 1,000,000 rows |") == 1, "of real weights, what was measured with them"
    document.write_text("nothing")
    with pytest.raises(ValueError, match="speed table"):
        tables.put_into(document, {"rows": {}})


@pytest.mark.parametrize("name", ["performance.json", "performance-real-weights.json"])
def test_the_documentation_shows_the_results_file(name: str, tmp_path: Path) -> None:
    docs = Path(__file__).parents[3] / "docs"
    copy = tmp_path / "performance.md"
    copy.write_text((docs / "performance.md").read_text(encoding="utf-8"), encoding="utf-8")
    tables.put_into(copy, tables.read_results(docs / name))
    assert copy.read_text(encoding="utf-8") == (docs / "performance.md").read_text(encoding="utf-8")


def test_every_row_writes_down_what_it_measured(world: World) -> None:
    """With stand-ins for the sides: each row gives rounds and ratios, after every round."""
    from benchmarks.speed import measure

    seconds = {"train-glotune": 2.0, "predict-glotune": 2.0, "tokenize-glotune": 2.0, "study-glotune": 2.0}

    def stand_in(job: dict[str, object]) -> dict[str, object]:
        taken = seconds.get(str(job["kind"]), 4.0)
        return {
            "seconds": taken, "optimizer_seconds": 0.0, "texts": 64, "steps": 1, "tokens": 640, "fill_seconds": 0.0,
            "wait_seconds": 0.0, "plan": None, "probabilities": [[0.5, 0.5]], "rows": 100, "runs": 6,
            "epoch_seconds": [taken] * 6, "wall_seconds": 9.0,
            "own_memory_bytes": 500,
            "peak_memory_bytes": 1000 if "glotune" in str(job["kind"]) else 4000,
        }  # fmt: skip

    setting = measure.Setting(
        stand_in, stand_in, 2, prediction_texts=64, tokenizing_rows=100, compared_rows=50, memory_texts=64
    )
    row = suite.quick(training_row("mbert-6-layers-frozen"))
    parts = {
        "training": lambda keep: measure.training(row, world, setting, print, keep),
        "memory": lambda keep: measure.memory(world, setting, print, keep),
        "prediction": lambda keep: measure.predicting(world, setting, print, keep),
        "tokenizing": lambda keep: measure.tokenize(world, setting, print, keep),
        "study": lambda keep: measure.studying(row, world, setting, print, keep, None),
    }
    for name, part in parts.items():
        kept: list[dict[str, object]] = []
        part(kept.append)
        assert len(kept) >= 2, name
        assert len(kept[-1]["rounds"]) == 2, name  # type: ignore[arg-type]
        if name != "study":
            wanted = 0.25 if name == "memory" else pytest.approx(2.0)
            assert kept[-1]["ratios"]["best"]["middle"] == wanted, name  # type: ignore[index]


@pytest.mark.extras
def test_a_warm_side_measures_as_a_fresh_one_does(world: World) -> None:
    """In forks of one process: each starts again, and a failure is told with its last lines."""
    job = prediction.job_of("predict-glotune", world, 8, "fp32")
    with warm(1) as measured:
        first, second = measured(job), measured(job)
        with pytest.raises(SideFailed, match=r"(?s)predict-glotune: exit code 1.*KeyError"):
            measured({"kind": "predict-glotune"})
        assert measured(job)["probabilities"] == first["probabilities"] == second["probabilities"]
    assert prediction.largest_difference(first, side.measure(job, 1)) < 1e-6


def test_lower_is_better_for_memory() -> None:
    assert tables.holding(0.55, 0.5, 0.4, lower=True) == "**missed**"
    assert tables.holding(0.39, 0.5, 0.4, lower=True) == "aim"
    assert tables.holding(0.39, 0.5, 0.4, lower=False) == "**missed**"
    assert Spread.of([3.0, 1.0, 2.0]) == Spread(1.0, 2.0, 3.0)


@pytest.mark.extras
def test_quick_measures_every_row_at_a_small_size() -> None:
    arguments = parsed("--quick")
    assert (arguments.row or NAMES) == NAMES
    with suite.settings(parsed()) as whole, suite.settings(arguments) as small:
        assert small.rounds == 1 < whole.rounds
        assert small.tokenizing_rows < whole.tokenizing_rows == 1_000_000
        assert small.measure is not whole.measure
        assert small.measure_memory is not small.measure
    assert FULL.vocabulary == 250_002
    with pytest.raises(SystemExit):
        parsed("--row", "unknown")
