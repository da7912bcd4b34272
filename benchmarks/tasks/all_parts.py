"""Every part, in the order in which they are measured."""

from benchmarks.tasks import annotators, emotions, long_texts

PARTS = (*emotions.PARTS, *annotators.PARTS, *long_texts.PARTS)
