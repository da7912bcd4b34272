"""``python -m documentation.example_report``: trains the quickstart and keeps its report as docs/examples/quickstart.

Toy texts of this project alone. Pictures are kept as PNG, reduced to 256 colours; paths in the recipe count from its
file, so that ``glotune train docs/examples/quickstart/recipe.yaml`` trains it again.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "docs" / "examples" / "quickstart"
RUN = Path("runs/quickstart")
"""Where `glotune quickstart` puts its run."""


def main(example: Path = EXAMPLE) -> None:
    """Makes the example anew; what stood there is replaced as a whole."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([Path(sys.executable).parent / "glotune", "quickstart"], cwd=folder, check=True)
        keep(Path(folder) / RUN, example)


def keep(run: Path, example: Path) -> None:
    """Copies what a reader of the report needs: report.md, report.html, its pictures and the recipe."""
    shutil.rmtree(example, ignore_errors=True)
    (example / "report" / "figures").mkdir(parents=True)
    for name in ("report.md", "report.html"):
        shutil.copyfile(run / "report" / name, example / "report" / name)
    for picture in sorted((run / "report" / "figures").glob("*.png")):
        reduce(picture, example / "report" / "figures" / picture.name)
    package = str(ROOT / "src" / "glotune")
    here = os.path.relpath(package, example)
    text = (run / "recipe.yaml").read_text(encoding="utf-8")
    (example / "recipe.yaml").write_text(text.replace(package, here), encoding="utf-8")


def reduce(picture: Path, target: Path) -> None:
    """Writes a drawing with a palette of 256 colours: a third of its size, the same to the eye."""
    from PIL import Image

    with Image.open(picture) as image:
        image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(target, optimize=True)


if __name__ == "__main__":
    main()
