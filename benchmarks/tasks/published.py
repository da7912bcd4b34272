"""Figures that others published on the same splits: BRIGHTER (Muhammad et al. 2025, arXiv:2502.11926).

All of theirs are one run each, two epochs at 1e-5, which leaves some encoders barely trained.
"""

from __future__ import annotations

MONOLINGUAL = {
    "afr": (30.8, 10.8), "arq": (45.5, 32.0), "ary": (45.8, 40.7), "chn": (53.5, 58.5), "deu": (55.0, 55.4),
    "eng": (64.2, 67.3), "esp": (72.9, 29.9), "hau": (58.5, 37.0), "ibo": (45.9, 18.4), "kin": (50.6, 32.9),
    "mar": (80.8, 79.0), "pcm": (51.3, 52.0), "ptbr": (42.6, 15.4), "ptmz": (37.0, 30.7), "rus": (75.6, 78.8),
    "sun": (36.9, 19.7), "swe": (49.2, 34.6), "ukr": (50.1, 17.8), "yor": (32.6, 11.9),
}  # fmt: skip
"""Table 2: language -> macro-F1 of LaBSE and of XLM-R, each trained on the language's own rows, in percent."""
CROSS_LINGUAL = {
    "afr": (35.1, 41.7), "arq": (35.9, 35.9), "ary": (42.8, 33.9), "chn": (45.3, 53.8), "deu": (42.5, 47.3),
    "eng": (36.7, 37.6), "esp": (54.6, 44.5), "hau": (38.5, 16.7), "ibo": (18.1, 10.4), "kin": (30.4, 13.1),
    "mar": (74.7, 76.2), "pcm": (33.3, 21.1), "ptbr": (41.5, 43.1), "ptmz": (31.4, 7.3), "rus": (61.3, 21.1),
    "sun": (34.8, 25.9), "swe": (44.2, 10.1), "ukr": (44.4, 34.1), "yor": (11.6, 6.6),
}  # fmt: skip
"""Table 3: the same, trained on the other languages of the family, the language left out."""
INTENSITY = {
    "arq": (1.4, 0.9), "chn": (23.4, 36.9), "deu": (28.9, 38.3), "eng": (35.3, 37.4), "hau": (26.1, 24.7),
    "ptbr": (20.6, 18.2), "ron": (35.6, 37.8), "rus": (68.4, 69.0),
}  # fmt: skip
"""Table 5: language -> Pearson's r of LaBSE and of XLM-R, times 100."""
