"""A served classifier: the wire format of text-embeddings-inference, limits, hostile clients, signals and load."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

pytest.importorskip("fastapi", reason="needs the extra 'serve'")
pytest.importorskip("uvicorn", reason="needs the extra 'serve'")
pytest.importorskip("prometheus_client", reason="needs the extra 'serve'")
pytest.importorskip("httpx", reason="needs the extra 'serve'")

from benchmarks import serving
from starlette.testclient import TestClient

import glotune
from encoders import TEXTS, make_encoder
from glotune.cli.main import run as glotune_command
from glotune.recipe.kinds import KINDS
from glotune.serve.app import Settings, build_app
from glotune.verbs.calibrate import Calibration

LABELS = ["negative", "neutral", "positive"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_encoder(tmp_path_factory.mktemp("served") / "model", labels=LABELS)


@pytest.fixture(scope="module")
def predictor(folder: Path) -> Any:
    return glotune.load(folder)


@pytest.fixture(scope="module")
def client(predictor: Any) -> Iterator[TestClient]:
    with TestClient(build_app(predictor, "toy", Settings(max_batch=4, max_body=5000))) as client:
        yield client


def ask(client: TestClient, inputs: Any, **more: Any) -> Any:
    answer = client.post("/predict", json={"inputs": inputs, **more})
    assert answer.status_code == 200, answer.text
    return answer.json()


def refused(client: TestClient, content: Any, status: int, kind: str = "Validation") -> str:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    answer = client.post("/predict", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == status, answer.text
    said = answer.json()
    assert set(said) == {"error", "error_type"}
    assert said["error_type"] == kind
    return str(said["error"])


# -- the wire format -----------------------------------------------------------------------------------------------


def test_a_text_is_answered_with_every_label_highest_first(client: TestClient, predictor: Any) -> None:
    for text in TEXTS[:4]:
        found = ask(client, text)
        scores = [each["score"] for each in found]
        assert scores == sorted(scores, reverse=True)
        expected = predictor.predict([text])[0].probabilities
        assert {each["label"]: each["score"] for each in found} == pytest.approx(expected, abs=1e-6)
        assert ask(client, [text]) == found


def test_a_batch_mixes_texts_and_pairs_in_order(client: TestClient, predictor: Any) -> None:
    found = ask(client, [[TEXTS[0]], [TEXTS[1], TEXTS[2]], [TEXTS[3]]])
    alone = [ask(client, TEXTS[0]), ask(client, [TEXTS[1], TEXTS[2]]), ask(client, TEXTS[3])]
    for first, second in zip(found, alone, strict=True):
        assert [each["label"] for each in first] == [each["label"] for each in second]
        assert [each["score"] for each in first] == pytest.approx([each["score"] for each in second], abs=1e-6)


def test_raw_scores_are_logits(client: TestClient) -> None:
    raw = {each["label"]: each["score"] for each in ask(client, TEXTS[0], raw_scores=True)}
    exponentials = {label: np.exp(score) for label, score in raw.items()}
    for each in ask(client, TEXTS[0]):
        assert each["score"] == pytest.approx(exponentials[each["label"]] / sum(exponentials.values()), abs=1e-6)


def test_a_text_that_is_too_long_is_refused_or_cut_as_asked(client: TestClient, predictor: Any) -> None:
    long = "good food " * 200
    assert "must have at most 128 tokens. Given:" in refused(client, {"inputs": long}, 413)
    cut = {each["label"]: each["score"] for each in ask(client, long, truncate=True)}
    assert cut == pytest.approx(predictor.predict([long])[0].probabilities, abs=1e-6)


def test_a_long_text_is_answered_from_its_windows(tmp_path: Path) -> None:
    place = make_encoder(tmp_path / "model", labels=LABELS)
    for name, keys in (
        ("config.json", {"windows": {"stride": 8, "most": 4, "pool": "mean"}}),
        ("tokenizer_config.json", {"model_max_length": 32}),
    ):
        content = json.loads((place / name).read_text(encoding="utf-8"))
        (place / name).write_text(json.dumps(content | keys), encoding="utf-8")
    predictor = glotune.load(place)
    texts = ["good food " * 14, TEXTS[0], "a bad film " * 12]
    with TestClient(build_app(predictor, "long", Settings())) as client:
        answers = ask(client, [[text] for text in texts])
        assert "must have at most 98 tokens. Given:" in refused(client, {"inputs": "good food " * 200}, 413)
    for answer, prediction in zip(answers, predictor.predict(texts), strict=True):
        assert not prediction.truncated
        found = {each["label"]: each["score"] for each in answer}
        assert found == pytest.approx(prediction.probabilities, abs=1e-5)
    plain = {each["label"]: each["score"] for each in answers[0]}
    assert plain != pytest.approx(glotune.load(place).predict([texts[0][:90]])[0].probabilities, abs=1e-5)


@pytest.mark.parametrize(
    ("content", "status", "message"),
    [
        (b"{", 400, "no JSON"),
        (b"\xff\xfe", 400, ""),
        (b"[" * 2000, 400, ""),
        (b'{"inputs": ' + b"9" * 4500 + b"}", 400, ""),
        ({}, 422, "inputs"),
        ({"inputs": 3}, 422, "inputs"),
        ({"inputs": None}, 422, "inputs"),
        ({"inputs": []}, 422, "a list of 0 strings"),
        ({"inputs": [[]]}, 422, "a list of 0 strings"),
        ({"inputs": ["a", "b", "c"]}, 422, "a list of 3 strings"),
        ({"inputs": [["a"], "b"]}, 422, "inputs"),
        ({"inputs": ""}, 422, "an empty text"),
        ({"inputs": [["a"], [" \n"]]}, 422, "text 2 of `inputs` is an empty text"),
        ({"inputs": "x \ud800"}, 422, "lone surrogate"),
        ({"inputs": "x", "truncate": "yes"}, 422, "truncate"),
        ({"inputs": "x", "truncation_direction": "left"}, 422, "truncation_direction"),
        ({"inputs": [["a"]] * 5}, 413, "batch size 5 > maximum allowed batch size 4"),
        ({"inputs": "x" * 6000}, 413, "larger than 5,000 bytes"),
    ],
)
def test_what_is_no_request_is_refused_in_the_same_form(
    client: TestClient, content: Any, status: int, message: str
) -> None:
    assert message in refused(client, content, status)
    assert ask(client, "and it goes on")


def test_health_info_metrics_and_the_page(client: TestClient) -> None:
    assert client.get("/health").status_code == 200
    info = client.get("/info").json()
    assert info["model_type"]["classifier"]["id2label"] == {"0": "negative", "1": "neutral", "2": "positive"}
    assert info["model_id"] == "toy"
    assert (info["max_input_length"], info["max_client_batch_size"]) == (128, 4)
    before = _metric(client, 'glotune_requests_total{status="200"}')
    ask(client, [["a"], ["b"]])
    assert _metric(client, 'glotune_requests_total{status="200"}') == before + 1
    assert _metric(client, "glotune_queued_texts") == 0
    described = client.get("/openapi.json").json()["paths"]
    assert set(described) == {"/predict", "/health", "/info", "/metrics"}
    assert set(described["/predict"]["post"]["responses"]) >= {"200", "413", "422", "424", "429"}
    assert client.get("/nothing").status_code == 404
    assert client.get("/predict").status_code == 405


def _metric(client: TestClient, name: str) -> float:
    lines = client.get("/metrics").text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


@pytest.mark.parametrize("task", ["single_label", "multi_label"])
@pytest.mark.parametrize("temperature", [None, 0.4, 3.0])
def test_the_thresholds_of_info_give_the_answers_of_predict(
    predictor: Any, task: str, temperature: float | None
) -> None:
    texts = [" ".join(TEXTS[number % len(TEXTS)].split()[number % 3 :]) or "good" for number in range(3 * len(TEXTS))]
    usual = np.median(replace(predictor, kind=KINDS[task]).predict_proba(texts), axis=0).tolist()
    own = replace(
        predictor, kind=KINDS[task], thresholds=usual, calibration=temperature and calibration_of(temperature)
    )
    with TestClient(build_app(own, "toy", Settings(max_batch=len(texts)))) as client:
        stated = client.get("/info").json()["thresholds"]
        answers = ask(client, [[text] for text in texts])
    expected = own.predict(texts)
    for answer, said in zip(answers, expected, strict=True):
        score = {each["label"]: each["score"] for each in answer}
        margins = {label: score[label] / stated[label] for label in LABELS}
        if task == "single_label":
            assert max(LABELS, key=lambda label: margins[label]) == said.label
        else:
            # the median itself may be one of the texts: rounding decides there
            assert {label for label in LABELS if margins[label] >= 1 + 1e-6} <= set(said.labels)
            assert {label for label in LABELS if margins[label] >= 1 - 1e-6} >= set(said.labels)
    assert len({str(said.answer.get("label", said.labels)) for said in expected}) > 1


def calibration_of(temperature: float) -> Calibration:
    losses = dict.fromkeys(("loss_before", "loss_after", "ece_before", "ece_after"), 0.1)
    return Calibration(temperature=temperature, languages=["en"], n=1, created="2026-01-01", **losses)


def test_a_model_that_fails_is_said_and_the_server_goes_on(predictor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with TestClient(build_app(predictor, "toy", Settings())) as client:
        with monkeypatch.context() as broken:
            broken.setattr(type(predictor.engine.model), "logits", lambda *_: 1 / 0)
            assert "inference failed (ZeroDivisionError)" in refused(client, {"inputs": "x"}, 424, "Backend")
            broken.setattr(type(predictor.engine.model), "logits", lambda *_: np.full((1, 3), np.nan))
            assert refused(client, {"inputs": "x"}, 424, "Backend") == "score is NaN"
        assert ask(client, "x")


def test_too_much_at_once_is_refused_and_too_slow_is_ended(predictor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real, gate = type(predictor.engine.model).logits, threading.Event()

    def slow(model: Any, store: Any) -> Any:
        gate.wait(20)
        return real(model, store)

    monkeypatch.setattr(type(predictor.engine.model), "logits", slow)
    with TestClient(build_app(predictor, "toy", Settings(queue_size=2, max_batch=2, timeout=0.5))) as client:
        assert "no answer within 0.5 s" in refused(client, {"inputs": "x"}, 504, "Overloaded")
        assert "no answer within 0.5 s" in refused(client, {"inputs": [["a"], ["b"]]}, 504, "Overloaded")
        assert refused(client, {"inputs": "c"}, 429, "Overloaded") == "Model is overloaded"
        gate.set()
        while _metric(client, "glotune_queued_texts"):
            time.sleep(0.01)
        assert ask(client, "x")


def test_the_largest_batch_fits_into_the_queue(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        glotune_command(["serve", str(folder), "--queue", "8"])
    assert ended.value.code == 2
    assert "Set --queue 32, or --max-batch 8" in capsys.readouterr().err.replace("\n", " ")


def test_a_slow_tokenizer_is_within_both_limits(predictor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real, gate, encoded = type(predictor.engine.encoding).encode, threading.Event(), list[str]()

    def slow(encoding: Any, texts: Any) -> Any:
        gate.wait(20)
        encoded.extend(texts)
        return real(encoding, texts)

    monkeypatch.setattr(type(predictor.engine.encoding), "encode", slow)
    with TestClient(build_app(predictor, "toy", Settings(queue_size=2, max_batch=2, timeout=0.5))) as client:
        assert "no answer within 0.5 s" in refused(client, {"inputs": "first"}, 504, "Overloaded")
        assert _metric(client, "glotune_queued_texts") == 1, "its tokens are still being made"
        assert refused(client, {"inputs": [["a"], ["b"]]}, 429, "Overloaded") == "Model is overloaded"
        assert "no answer within 0.5 s" in refused(client, {"inputs": "gone"}, 504, "Overloaded")
        assert _metric(client, "glotune_queued_texts") == 1, "who has gone is not waited for"
        gate.set()
        assert ask(client, "last")
        assert _metric(client, "glotune_queued_texts") == 0
    assert encoded == ["first", "last"]


def test_a_token_guards_all_but_health(predictor: Any) -> None:
    with TestClient(build_app(predictor, "toy", Settings(token="sesame"))) as client:
        assert client.post("/predict", json={"inputs": "x"}).status_code == 401
        assert client.get("/metrics", headers={"authorization": "Bearer sesamE"}).status_code == 401
        assert client.get("/health").status_code == 200
        assert client.post("/predict", json={"inputs": "x"}, headers={"authorization": "Bearer sesame"}).json()


def test_other_addresses_need_a_token_and_a_wrong_path_is_told(
    folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for arguments, message in (
        ([str(folder), "--host", "0.0.0.0"], "without a token"),
        ([str(tmp_path / "nothing")], "there is no run"),
    ):
        with pytest.raises(SystemExit) as ended:
            glotune_command(["serve", *arguments])
        assert ended.value.code == 2
        assert message in capsys.readouterr().err


# -- a process of its own ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def served(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    with serving.server(serving.ours(folder, "--timeout", "2"), tmp_path_factory.mktemp("server")) as found:
        yield found


def raw(port: int, *parts: bytes, pause: float = 0.0, wait: float = 20.0) -> bytes:
    """What comes back on a connection of one's own until it is closed, or for `wait` seconds."""
    with socket.create_connection(("127.0.0.1", port), timeout=wait) as connection:
        for part in parts:
            connection.sendall(part)
            time.sleep(pause)
        found = b""
        try:
            while piece := connection.recv(65536):
                found += piece
        except (TimeoutError, ConnectionResetError):
            found += b"<open>" if not found else b""
        return found


HEAD = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"


def test_hostile_requests_are_answered_or_closed_and_harm_nobody(
    served: tuple[subprocess.Popen[bytes], int], predictor: Any
) -> None:
    _, port = served
    assert raw(port, b"\x00\x01\x02 nonsense\r\n\r\n").startswith(b"HTTP/1.1 400")
    assert raw(port, b"GET / HTTP/1.1\r\nx: " + b"y" * 100_000 + b"\r\n\r\n")[:12] in (b"HTTP/1.1 400", b"")
    assert b" 413 " in raw(port, HEAD + b"content-length: 99999999\r\n\r\n{")
    assert b" 408 " in raw(port, HEAD + b"content-length: 100\r\n\r\n", b"{", pause=0.1), "a body that does not come"
    endless = b"".join(b"10000\r\n" + b" " * 0x10000 + b"\r\n" for _ in range(40))
    assert b" 413 " in raw(port, HEAD + b"transfer-encoding: chunked\r\n\r\n" + endless)
    with socket.create_connection(("127.0.0.1", port)) as cut:
        cut.sendall(HEAD + b"content-length: 100\r\n\r\n{")
    with socket.create_connection(("127.0.0.1", port)) as cut:
        body = json.dumps({"inputs": TEXTS[0]}).encode()
        cut.sendall(HEAD + b"content-length: %d\r\n\r\n" % len(body) + body)  # and goes before the answer
    expected = serving.answers(predictor, list(TEXTS))
    found = serving.load(port, expected, clients=2, seconds=1)
    assert found.latencies
    assert not found.wrong + found.failed


def test_a_header_that_never_ends_is_closed(served: tuple[subprocess.Popen[bytes], int]) -> None:
    _, port = served
    started = time.monotonic()
    assert raw(port, b"POST /pre", wait=30) == b"", "closed, with nothing said"
    assert time.monotonic() - started < 25
    assert raw(port, wait=30) == b"", "nor does it wait for one who says nothing"


def test_under_load_no_answer_is_lost_or_swapped(served: tuple[subprocess.Popen[bytes], int], predictor: Any) -> None:
    found = serving.load(served[1], many_texts(predictor), clients=8, seconds=3)
    assert len(found.latencies) > 20
    assert not found.wrong + found.failed


@pytest.mark.extras
def test_a_minute_of_load_takes_no_more_memory(served: tuple[subprocess.Popen[bytes], int], predictor: Any) -> None:
    process, port = served
    expected = many_texts(predictor)
    serving.load(port, expected, seconds=15)
    before = psutil.Process(process.pid).memory_info().rss
    found = serving.load(port, expected, clients=8, seconds=60)
    assert len(found.latencies) > 1000
    assert not found.wrong + found.failed
    grown = psutil.Process(process.pid).memory_info().rss - before
    assert grown < 16 * 2**20, f"{grown / 2**20:.1f} MiB more after {len(found.latencies)} answers"


def many_texts(predictor: Any) -> dict[str, dict[str, float]]:
    return serving.answers(predictor, [f"{text} {number}" for number in range(20) for text in TEXTS])


@pytest.mark.parametrize("end", [signal.SIGTERM, pytest.param(signal.SIGKILL, marks=pytest.mark.extras)])
def test_a_server_that_is_ended_under_load_gives_no_wrong_answer_and_a_new_one_takes_over(
    end: signal.Signals, folder: Path, predictor: Any, tmp_path: Path
) -> None:
    """SIGTERM answers first what was accepted; SIGKILL cuts it off, and frees the port."""
    expected = serving.answers(predictor, list(TEXTS))
    found: list[serving.Load] = []
    with serving.server(serving.ours(folder), tmp_path) as (process, port):
        clients = threading.Thread(target=lambda: found.append(serving.load(port, expected, seconds=3)))
        clients.start()
        time.sleep(1)
        process.send_signal(end)
        assert process.wait(120) == (0 if end is signal.SIGTERM else -signal.SIGKILL)
        restarted = [*serving.ours(folder)[:-1], str(port)]
        with serving.server(restarted, tmp_path) as (_, again):
            assert again == port
            clients.join()
            after = serving.load(again, expected, clients=2, seconds=0.5)
    assert found[0].latencies
    assert not found[0].wrong
    gone = GONE if end is signal.SIGTERM else (*GONE, "IncompleteRead")
    assert not [each for each in found[0].failed if not each.startswith(gone)]
    assert after.latencies
    assert not after.wrong + after.failed


GONE = ("ConnectionRefusedError", "ConnectionResetError", "RemoteDisconnected", "BrokenPipeError")
