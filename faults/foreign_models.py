"""Models of other origin, generated: whole ones answer as in transformers, harmed ones do not answer."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from faults.answers import expect, users_mistakes
from faults.fuzz import Attempt


def foreign_models(model: Path) -> Attempt:
    """Saved classifiers of another origin, whole or harmed: answered as transformers does, or refused."""
    import torch
    from safetensors.torch import load_file, save_file
    from transformers.utils import logging

    logging.set_verbosity_error()
    weights = load_file(model / "model.safetensors")
    head = [name for name in weights if name.startswith("classifier")]

    def attempt(generator: Random, folder: Path) -> object:
        import glotune

        place = folder / "foreign"
        shutil.copytree(model, place)
        config = json.loads((place / "config.json").read_text(encoding="utf-8"))
        changed = dict(weights)
        harm = "none" if generator.random() < 0.25 else generator.choice(list(HARMS))
        torch.manual_seed(generator.getrandbits(31))
        HARMS[harm](generator, place, config, changed, head)
        if (place / "config.json").exists() and harm != "broken config":
            (place / "config.json").write_text(json.dumps(config), encoding="utf-8")
        if changed.keys() != weights.keys() or any(changed[name] is not weights[name] for name in changed):
            save_file(
                {name: value.clone() for name, value in changed.items()}, place / "model.safetensors", {"format": "pt"}
            )
        texts = ["good room", "bad", "food"]
        found = glotune.load(place, device="cpu").predict(texts)
        wanted = _by_transformers(place, texts)
        for got, (label, scores) in zip(found, wanted, strict=True):
            right = got.label == label and got.probabilities.keys() == scores.keys()
            close = right and all(abs(got.probabilities[name] - scores[name]) < 1e-4 for name in scores)
            expect(close, f"{harm}: answers {got.probabilities}, transformers {scores}")
        return found

    return users_mistakes(attempt)


Harm = Callable[[Random, Path, dict[str, Any], dict[str, Any], list[str]], object]


def _renamed(generator: Random, place: Path, config: dict[str, Any], weights: dict[str, Any], head: list[str]) -> None:
    number = generator.choice([1, 2, 3, 5])
    config.pop("label2id", None)
    if generator.random() < 0.5:
        config.pop("id2label", None)
        config["num_labels"] = number
    else:
        config["id2label"] = {str(index): f"class {index}" for index in range(number)}


def _resized(generator: Random, place: Path, config: dict[str, Any], weights: dict[str, Any], head: list[str]) -> None:
    """A head of another size, said rightly; at times of another kind."""
    import torch

    number = generator.choice([1, 2, 4])
    last = [name for name in head if "out_proj" in name]
    for name in last:
        weights[name] = torch.randn(number, *weights[name].shape[1:])
    config["id2label"] = {str(index): f"c{index}" for index in range(number)}
    config["label2id"] = {f"c{index}": index for index in range(number)}
    if generator.random() < 0.5:
        config["problem_type"] = generator.choice(
            ["multi_label_classification", "regression", "single_label_classification"]
        )


def _broken(generator: Random, place: Path, config: dict[str, Any], weights: dict[str, Any], head: list[str]) -> None:
    path = place / "config.json"
    content = generator.choice(["", "{", "[]", "null", "{}", '{"model_type": "nothing"}', "\udcff", "[1, 2]", '"text"'])
    path.write_bytes(content.encode("utf-8", "surrogateescape"))


def _config_of(
    generator: Random, place: Path, config: dict[str, Any], weights: dict[str, Any], head: list[str]
) -> None:
    key, value = generator.choice(
        [
            ("architectures", ["XLMRobertaModel"]), ("architectures", ["XLMRobertaForMaskedLM"]),
            ("architectures", None), ("hidden_size", 48), ("num_hidden_layers", 7), ("vocab_size", 5),
            ("model_type", "bert"), ("model_type", 5),
            ("problem_type", "regression"), ("problem_type", "multi_label_classification"), ("id2label", {}),
            ("id2label", {"a": "b"}), ("id2label", []), ("id2label", {"0": "same", "1": "same", "2": "same"}),
        ]
    )  # fmt: skip
    config[key] = value


def _missing_file(
    generator: Random, place: Path, config: dict[str, Any], weights: dict[str, Any], head: list[str]
) -> None:
    files = sorted(path for path in place.iterdir() if path.is_file() and path.name != "model.safetensors")
    generator.choice(files).unlink()


HARMS: dict[str, Harm] = {
    "none": lambda generator, place, config, weights, head: None,
    "no head": lambda generator, place, config, weights, head: [weights.pop(name) for name in head],
    "half a head": lambda generator, place, config, weights, head: weights.pop(generator.choice(head)),
    "other number of labels": _renamed,
    "other head": _resized,
    "other config": _config_of,
    "broken config": _broken,
    "missing file": _missing_file,
    "missing layer": lambda generator, place, config, weights, head: weights.pop(generator.choice(sorted(weights))),
}


def _by_transformers(place: Path, texts: list[str]) -> list[tuple[str, dict[str, float]]]:
    """Label and scores of each text; AssertionError where transformers finds weights that aren't there."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    try:
        model, info = AutoModelForSequenceClassification.from_pretrained(place, output_loading_info=True)
        tokenizer = AutoTokenizer.from_pretrained(place)
    except Exception as error:
        raise AssertionError(f"answered by a folder that transformers can't open ({str(error)[:80]})") from error
    lacking = sorted({*info["missing_keys"], *(str(each[0]) for each in info["mismatched_keys"])})
    expect(not lacking, f"answered without {', '.join(lacking[:3])}")
    model.eval()
    answers = []
    for text in texts:
        with torch.no_grad():
            logits_C = model(**tokenizer(text, return_tensors="pt")).logits[0]
        kind = model.config.problem_type
        if kind == "regression":
            scores_C = logits_C
        else:
            single = kind != "multi_label_classification" and model.config.num_labels > 1
            scores_C = logits_C.softmax(-1) if single else logits_C.sigmoid()
        names = [model.config.id2label[index] for index in range(len(scores_C))]
        scores = dict(zip(names, scores_C.tolist(), strict=True))
        answers.append((max(scores, key=lambda name: scores[name]), scores))
    return answers
