"""Every part, in the order in which they are measured."""

from benchmarks.tasks import annotators, beside_trainer, emotions, long_texts, proofs, speed
from benchmarks.tasks.parts import Measurable

PARTS: tuple[Measurable, ...] = (
    *emotions.PARTS,
    *annotators.PARTS,
    *long_texts.PARTS,
    *beside_trainer.PARTS,
    *proofs.PARTS,
    *speed.PARTS,
)
