"""The embedded encoder: small, credited, and nothing that `import glotune` pays for."""

from __future__ import annotations

import subprocess
import sys

import torch

from glotune.nano import NAME, nano_path
from glotune.nano import __file__ as package_file


def test_the_package_part_is_at_most_twenty_megabytes() -> None:
    from pathlib import Path

    files = [
        path for path in Path(package_file).parent.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    ]
    assert sum(path.stat().st_size for path in files) <= 20_000_000
    assert {path.name for path in nano_path().iterdir()} == {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }


def test_finding_it_imports_nothing_heavy() -> None:
    code = (
        "import sys, glotune, glotune.nano; glotune.nano.nano_path(); "
        "heavy = {'torch', 'transformers', 'tokenizers', 'numpy', 'safetensors'} & set(sys.modules); "
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr


def test_its_card_credits_the_data_and_says_what_it_is() -> None:
    from pathlib import Path

    card = (Path(package_file).parent / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "Tatoeba" in card
    assert "CC BY 2.0 FR" in card
    assert "teaching and testing" in card


def test_it_opens_as_a_masked_language_model_with_its_own_output_layer() -> None:
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(nano_path())
    model, info = AutoModelForMaskedLM.from_pretrained(nano_path(), dtype=torch.float32, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert len(tokenizer) == model.config.vocab_size
    assert tokenizer.convert_tokens_to_ids(["<s>", "<pad>", "</s>", "<unk>"]) == [0, 1, 2, 3]
    assert tokenizer.mask_token == "<mask>"
    assert all(torch.isfinite(value).all() for value in model.parameters())


def test_it_reads_every_script_of_its_languages() -> None:
    """Hello in scripts that few of its sentences are in: pieces, not unknown."""
    from transformers import AutoTokenizer

    hello = ["ሰላም", "გამარჯობა", "բարեւ", "வணக்கம்", "నమస్కారం", "നമസ്കാരം", "សួស្តី", "สวัสดี", "नमस्ते", "হ্যালো", "你好", "안녕"]
    tokenizer = AutoTokenizer.from_pretrained(nano_path())
    unknown = [word for word in hello if tokenizer.unk_token_id in tokenizer(word)["input_ids"]]
    assert unknown == []


def test_translations_stand_closer_than_other_sentences() -> None:
    """Everyday sentences written for this test, none of them from its training data."""
    from transformers import AutoModel, AutoTokenizer

    sentences = {
        "en": ["My father drinks tea in the morning.", "The children play in the garden.", "Where is the hospital?"],
        "de": ["Mein Vater trinkt morgens Tee.", "Die Kinder spielen im Garten.", "Wo ist das Krankenhaus?"],
        "es": ["Mi padre bebe té por la mañana.", "Los niños juegan en el jardín.", "¿Dónde está el hospital?"],
        "ru": ["Мой отец пьёт чай утром.", "Дети играют в саду.", "Где больница?"],
        "hi": ["मेरे पिता सुबह चाय पीते हैं।", "बच्चे बगीचे में खेल रहे हैं।", "अस्पताल कहाँ है?"],
    }
    tokenizer = AutoTokenizer.from_pretrained(nano_path())
    model = AutoModel.from_pretrained(nano_path(), dtype=torch.float32, add_pooling_layer=False).eval()
    with torch.no_grad():
        vectors = {
            code: torch.nn.functional.normalize(
                model(**tokenizer(texts, padding=True, return_tensors="pt")).last_hidden_state[:, 0]
            )
            for code, texts in sentences.items()
        }
    hits = [(vectors["en"] @ vectors[code].T).argmax(dim=1) == torch.arange(3) for code in ("de", "es", "ru", "hi")]
    assert torch.cat(hits).float().mean() >= 0.75


def test_its_name_is_the_one_that_recipes_use() -> None:
    from glotune.model.sources import EMBEDDED

    assert NAME == EMBEDDED
