"""A teacher's vectors as targets: what is taken off, what is kept, and the loss, against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from glotune.recipe.pretrain import Teacher
from glotune.tasks.sentence_targets import PRIOR, Lesson, SentenceVectors, Space, Targets

WIDTH = 12


def made_vectors(texts: int = 400, languages: int = 3) -> SentenceVectors:
    """Vectors that differ in a direction for their language, and by chance."""
    rng = np.random.default_rng(0)
    codes = rng.integers(0, languages, texts).astype(np.int16)
    raw = rng.normal(size=(texts, WIDTH)) * np.linspace(2.0, 0.1, WIDTH) + 4.0 * np.eye(WIDTH)[codes]
    unit = (raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float32)
    return SentenceVectors(unit, np.arange(texts), codes, [f"l{code}" for code in range(languages)])


def test_the_mean_of_each_language_is_taken_off() -> None:
    vectors = made_vectors()
    space = Space.of(vectors, "language", WIDTH)
    assert space.axes_DH is None, "a student as wide as its teacher takes the vectors as they are"
    found = space.centred(vectors, np.arange(400))
    overall = vectors.vectors_UD.mean(axis=0)
    for code in range(3):
        own = vectors.languages_N == code
        mean = (own.sum() * vectors.vectors_UD[own].mean(axis=0) + PRIOR * overall) / (own.sum() + PRIOR)
        assert np.allclose(found[own], vectors.vectors_UD[own] - mean, atol=1e-6)
    one_mean = Space.of(vectors, "all", WIDTH).centred(vectors, np.arange(400))
    assert np.allclose(one_mean, vectors.vectors_UD - overall, atol=1e-6)
    none = Space.of(vectors, "none", WIDTH).centred(vectors, np.arange(400))
    assert np.array_equal(none, vectors.vectors_UD)


def test_a_language_without_training_texts_is_centred_on_all() -> None:
    vectors = made_vectors()
    space = Space.of(vectors, "language", WIDTH)
    other = SentenceVectors(vectors.vectors_UD, np.arange(2), np.zeros(2, np.int16), ["unseen"])
    overall = vectors.vectors_UD.mean(axis=0)
    assert np.allclose(space.centred(other, np.arange(2)), vectors.vectors_UD[:2] - overall, atol=1e-6)


def test_a_narrower_student_gets_the_directions_of_largest_spread() -> None:
    vectors = made_vectors()
    space = Space.of(vectors, "language", 5)
    assert space.axes_DH is not None
    assert np.allclose(space.axes_DH.T @ space.axes_DH, np.eye(5), atol=1e-5)
    centred = space.centred(vectors, np.arange(400)).astype(np.float64)
    kept = np.square(centred @ space.axes_DH).sum()
    best = np.square(np.linalg.svd(centred, compute_uv=False)[:5]).sum()
    assert kept == pytest.approx(best, rel=1e-5), "no five directions hold more (Eckart & Young 1936)"
    with pytest.raises(ValueError, match="13 components of vectors that are 12 wide"):
        Space.of(vectors, "language", 13)


def test_both_sides_of_a_pair_have_the_target_of_their_sum() -> None:
    vectors = made_vectors(10, languages=2)
    space = Space.of(vectors, "all", WIDTH)
    targets = Targets(vectors, space, items=6, pairs=4)  # texts 6 to 9 translate items 0 to 3
    centred = torch.from_numpy(space.centred(vectors, np.arange(10)))
    found = targets.of_texts(np.arange(10))
    assert torch.equal(found[6:], found[:4])
    expected = torch.nn.functional.normalize(centred[:4] + centred[6:], dim=1)
    assert torch.allclose(found[:4], expected, atol=1e-6)
    assert torch.allclose(found[4:6], torch.nn.functional.normalize(centred[4:6], dim=1), atol=1e-6)


def lesson(keys: list[int], **spec: float) -> Lesson:
    rng = torch.Generator().manual_seed(1)
    targets = torch.nn.functional.normalize(torch.randn(len(keys), 8, generator=rng), dim=1)
    teacher = Teacher.model_validate({"name": "x", **spec})
    return Lesson(teacher, 0.1, len(keys), np.arange(len(keys)), targets, np.array(keys))


def dressed(made: Lesson, items: list[int]) -> dict[str, torch.Tensor]:
    from glotune.data.batches import PackedBatch

    none = torch.zeros(0, dtype=torch.long)
    batch = PackedBatch(none, none, none, none, (), np.array(items))
    return dict(made.dress(batch, np.array(items)).targets)


def test_the_loss_is_distance_and_contrast_by_their_formulas() -> None:
    made = lesson([1, 2, 3, 4], weight=1.5, contrast=0.25)
    student = torch.randn(4, 8, generator=torch.Generator().manual_seed(2))
    loss, said = made.part((student,), dressed(made, [0, 1, 2, 3]))
    unit = torch.nn.functional.normalize(student, dim=1)
    scores = unit @ made.targets_KH.T
    distance = (unit - made.targets_KH).square().sum(dim=1).mean()
    contrast = torch.nn.functional.cross_entropy(scores / 0.1, torch.arange(4))
    assert float(loss) == pytest.approx(float(1.5 * distance + 0.25 * contrast), abs=1e-5)
    assert float(said["teacher_cosine"]) == pytest.approx(float(scores.diag().mean()), abs=1e-6)
    _, said = made.part((3.0 * made.targets_KH,), dressed(made, [0, 1, 2, 3]))
    assert float(said["teacher_cosine"]) == pytest.approx(1.0, abs=1e-6)
    assert float(said["teacher_hits"]) == 1.0


def test_items_of_one_key_are_no_wrong_answers() -> None:
    made = lesson([1, 2, 1, 4], weight=0.0, contrast=1.0)
    student = torch.randn(1, 8, generator=torch.Generator().manual_seed(2))
    loss, _ = made.part((student,), dressed(made, [0]))
    scores = torch.nn.functional.normalize(student, dim=1) @ made.targets_KH.T / 0.1
    left = torch.nn.functional.cross_entropy(scores[:, [0, 1, 3]], torch.tensor([0]))
    assert float(loss) == pytest.approx(float(left) / 4, abs=1e-6), "a quarter: one of the batch's four texts"


def test_texts_that_share_a_micro_batch_or_not_give_the_same_sum() -> None:
    made = lesson([1, 2, 3, 4])
    student = torch.randn(4, 8, generator=torch.Generator().manual_seed(2))
    whole, _ = made.part((student,), dressed(made, [0, 1, 2, 3]))
    cut = [made.part((student[part],), dressed(made, part))[0] for part in ([2], [0, 3], [1])]
    assert float(sum(cut)) == pytest.approx(float(whole), abs=1e-5)
