"""The ranking: cases calculated by hand, and the whole formula compared with a plain reimplementation."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from itertools import groupby

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.profiles import examples

from recalld_server.domain import ranking
from recalld_server.domain.query import Question
from recalld_server.domain.ranking import Mode, Pool, Ranking, Weights, exact_candidates, rank, relevance_only

PLAIN = Weights(near=0, far=0, conversation=0, k1=1.2, b=0, similarity=0.4, context=0.4, speaker=0.5, date=0.4)
DAY = 86_400_000_000


def question(*terms: int, asked: tuple[str, ...] = (), **dates: frozenset[int]) -> Question:
    return Question(np.array(sorted(terms), dtype=np.uint32), "", frozenset(asked), **dates)


def pool(*terms: list[int], **columns: object) -> Pool:
    """Rows of one conversation, in order, with ids a, b, c …; columns not given are plain."""
    n = len(terms)
    base = Pool(
        ids=tuple("abcdefghijklmnopqrstuvwxyz"[:n]),
        candidate=np.ones(n, dtype=np.bool_),
        eligible=np.ones(n, dtype=np.bool_),
        conversation=np.zeros(n, dtype=np.int64),
        position=np.arange(n, dtype=np.int64),
        ordinal=np.zeros(n, dtype=np.int64),
        speaker=("",) * n,
        date=np.zeros(n, dtype=np.int64),
        terms=tuple(np.array(row, dtype=np.uint32) for row in terms),
        vectors=np.tile(np.array([1, 0], dtype=np.float32), (n, 1)),
    )
    return replace(base, **columns)


def at(*cosines: float) -> np.ndarray:
    """Unit vectors in the plane that have these cosines to EAST."""
    return np.array([[c, math.sqrt(1 - c * c)] for c in cosines], dtype=np.float32).reshape(-1, 2)


EAST = np.array([1, 0], dtype=np.float32)


def test_coverage_by_hand() -> None:
    """Two of three rows have term 1 (idf ln(1 + 1.5/2.5)), one has term 2 (idf ln(1 + 2.5/1.5))."""
    found = rank(question(1, 2), EAST, pool([1], [1, 1, 2], [9]), weights=PLAIN)
    one, two = math.log(1.6), math.log(1 + 2.5 / 1.5)
    assert found.idf == pytest.approx([one, two])
    assert found.lexical == pytest.approx([one / (one + two), (one * 2 * 2.2 / 3.2 + two) / (one + two), 0])
    assert found.relevance == pytest.approx([1, 1, 1])  # all vectors are the question's own
    assert found.matched == pytest.approx([one / (one + two), 1, 0])
    assert found.similarity_normalised.tolist() == [0, 0, 0]  # the largest is the smallest
    assert found.order.tolist() == [1, 0, 2]


def test_neighbours_lend_terms_lengths_and_similarity() -> None:
    weights = replace(PLAIN, near=0.5, far=0.25, conversation=0.0, b=0.4)
    found = rank(question(1), EAST, pool([1, 7], [], [9], [9], vectors=at(1, 0, 0.5, 0.5)), weights=weights)
    lengths = np.array([2 + 0.25, 0 + 1 + 0.5 + 0.25, 1 + 0.5 + 0.5, 1 + 0.5])
    counts = np.array([1, 0.5, 0.25, 0])
    assert found.lexical == pytest.approx(counts * 2.2 / (counts + 1.2 * (0.6 + 0.4 * lengths / lengths.mean())))
    context = [(1 + 0.125) / 1.75, (0.5 + 0.25 + 0.125) / 2.25, (0.5 + 0.25 + 0.25) / 2.25, (0.5 + 0.25) / 1.75]
    assert found.context == pytest.approx(context, abs=1e-6)
    assert found.matched.tolist() == [1, 0, 0, 0]  # relevance is a memory's own


def test_facts_of_one_message_share_its_weight_and_three_of_them_count() -> None:
    weights = replace(PLAIN, near=0.5)
    rows = pool(
        [], [1], [1], [], [1], position=np.array([0, 1, 1, 1, 1]), ordinal=np.array([0, 0, 1, 2, 3]), speaker=("",) * 5
    )
    lent = 0.5 * 2 / 3
    found = rank(question(1), EAST, rows, weights=weights)
    assert found.lexical[0] == pytest.approx(lent * 2.2 / (lent + 1.2))
    assert found.lexical[3] == 0  # its own message's facts are no neighbours


def test_conversation_lends_little_and_at_most_so_much() -> None:
    weights = replace(PLAIN, conversation=0.05, conversation_cap=2)
    far_apart = pool([1, 1, 1], [], [], position=np.array([0, 50, 0]), conversation=np.array([0, 0, 1]))
    found = rank(question(1), EAST, far_apart, weights=weights)
    assert found.lexical == pytest.approx([3.1 * 2.2 / 4.3, 0.1 * 2.2 / 1.3, 0])


def test_similarity_is_normalised_over_candidates_and_clipped() -> None:
    rows = pool([], [], [], vectors=at(0.2, 0.6, 0.9), candidate=np.array([True, True, False]))
    found = rank(question(), EAST, rows, weights=PLAIN)
    assert found.similarity_normalised == pytest.approx([0, 1, 1])
    assert found.score == pytest.approx([0, 0.8, 0.8])
    assert found.order.tolist() == [1, 2, 0]
    assert found.relevance == pytest.approx([0.2, 0.6, 0.9])


def test_rounding_is_no_difference() -> None:
    found = rank(
        question(), EAST, pool([], [], vectors=np.array([[1, 0], [0.9999999, 0]], dtype=np.float32)), weights=PLAIN
    )
    assert found.score.tolist() == [0, 0]
    assert found.order.tolist() == [0, 1]


def test_speaker_and_date() -> None:
    dates = np.array([0, 31 * DAY, 365 * DAY, 366 * DAY])  # 1 January and 1 February 1970, 1 and 2 January 1971
    asked = question(asked=("Ann",), months=frozenset({1}), years=frozenset({1971}), days=frozenset({2}))
    found = rank(asked, EAST, pool([], [], [], [], date=dates, speaker=("Ann", "Bob", "ann", "Ann")))
    assert found.speaker.tolist() == [0.5, 0, 0, 0.5]
    assert found.date.tolist() == pytest.approx([0, 0, 0.2, 0.4])
    assert found.order.tolist() == [3, 0, 2, 1]


def test_ties_go_by_id_and_only_eligible_rows_are_results() -> None:
    rows = pool([1], [1], [1], [1], ids=("c", "b", "a", "d"), eligible=np.array([True, True, False, True]))
    assert rank(question(1), EAST, rows, weights=PLAIN).order.tolist() == [1, 0, 3]


def test_keyword_mode_wants_a_word_and_no_vector() -> None:
    rows = pool([1], [], [2], vectors=at(0, 1, 0))
    found = rank(question(1, 2, 3), None, rows, Mode.KEYWORD)
    assert found.order.tolist() == [0, 2]
    assert found.relevance == pytest.approx([1 / 3, 0, 1 / 3])
    assert found.score == pytest.approx(np.round(found.lexical, 6))


def test_vector_mode_leaves_words_out() -> None:
    found = rank(question(1), EAST, pool([1], [], vectors=at(-0.5, 0.5)), Mode.VECTOR, PLAIN)
    assert found.order.tolist() == [1, 0]
    assert found.score.tolist() == [0, 0.8]
    assert found.relevance == pytest.approx([0, 0.5])


@pytest.mark.parametrize("mode", list(Mode))
def test_no_rows_and_one_row(mode: Mode) -> None:
    nothing = rank(question(1), EAST, pool(vectors=np.empty((0, 2), dtype=np.float32)), mode)
    assert nothing.order.shape == nothing.score.shape == nothing.relevance.shape == (0,)
    assert nothing.idf.shape == (1,)
    single = rank(question(), EAST, pool([]), mode)
    assert single.order.tolist() == ([] if mode is Mode.KEYWORD else [0])
    assert single.score.tolist() == [0]


# The whole formula once more, as a reader would write it


def restated(asked: Question, vector: np.ndarray, rows: Pool, w: Weights) -> tuple[list[float], list[float]]:
    """Scores and relevances by loops over rows, offsets and terms."""
    n = range(len(rows))

    def count(i: int, term: int) -> int:
        return rows.terms[i].tolist().count(term)

    def beside(i: int) -> list[tuple[float, int]]:
        """Each neighbour that counts, with its share of the weight of its offset."""
        shares = []
        for offset, weight in ((-2, w.far), (-1, w.near), (1, w.near), (2, w.far)):
            there = [
                j
                for j in n
                if rows.conversation[j] == rows.conversation[i] and rows.position[j] - rows.position[i] == offset
            ]
            there = sorted(there, key=lambda j: rows.ordinal[j])[:3]
            shares += [(weight / len(there), j) for j in there]
        return shares

    idf = {}
    for t in asked.terms.tolist():
        df = max(1, sum(count(i, t) > 0 for i in n))
        idf[t] = math.log(1 + (len(rows) - df + 0.5) / (df + 0.5))
    cosine = [float(rows.vectors[i] @ vector) for i in n]
    length = [len(rows.terms[i]) + sum(share * len(rows.terms[j]) for share, j in beside(i)) for i in n]
    mean = sum(length) / len(rows)
    context = [
        (cosine[i] + sum(share * cosine[j] for share, j in beside(i))) / (1 + sum(share for share, _ in beside(i)))
        for i in n
    ]

    def normalised(values: list[float], i: int) -> float:
        among = [values[j] for j in n if rows.candidate[j]]
        if not among or max(among) == min(among):
            return 0.0
        return min(max((values[i] - min(among)) / (max(among) - min(among)), 0.0), 1.0)

    scores, relevances = [], []
    for i in n:
        lexical = 0.0
        for t in idf:
            talk = sum(count(j, t) for j in n if rows.conversation[j] == rows.conversation[i])
            tf = count(i, t) + sum(share * count(j, t) for share, j in beside(i))
            tf += w.conversation * min(talk, w.conversation_cap)
            relative = length[i] / mean if mean else 1.0
            lexical += idf[t] * tf * (w.k1 + 1) / (tf + w.k1 * (1 - w.b + w.b * relative)) / sum(idf.values())
        score = lexical + w.similarity * normalised(cosine, i) + w.context * normalised(context, i)
        scores.append(score + w.speaker * (rows.speaker[i] in asked.asked))
        matched = sum(idf[t] for t in idf if count(i, t)) / sum(idf.values()) if idf else 0.0
        relevances.append(max(min(max(cosine[i], 0.0), 1.0), matched))
    return scores, relevances


@st.composite
def pools(draw: st.DrawFn) -> Pool:
    places = draw(
        st.lists(st.tuples(st.integers(0, 2), st.integers(-3, 5), st.integers(0, 4)), max_size=14, unique=True)
    )
    n = len(places)
    talk, place, ordinal = (np.array([p[k] for p in places], dtype=np.int64) for k in range(3))

    def column(values: st.SearchStrategy[object]) -> list[object]:
        return draw(st.lists(values, min_size=n, max_size=n))

    # Cosines in quarters: near ties would divide by differences that are nothing but rounding.
    return pool(
        *column(st.lists(st.integers(1, 6), max_size=6)),
        conversation=talk,
        position=place,
        ordinal=ordinal,
        candidate=np.array(column(st.booleans()), dtype=np.bool_),
        eligible=np.array(column(st.booleans()), dtype=np.bool_),
        speaker=tuple(column(st.sampled_from(["Ann", "Bob", ""]))),
        vectors=at(*(c / 4 for c in column(st.integers(-4, 4)))),
    )


questions = st.builds(
    lambda terms, asked: question(*terms, asked=asked),
    st.sets(st.integers(1, 8), max_size=4),
    st.sampled_from([(), ("Ann",), ("Ann", "Bob")]),
)


@settings(deadline=None, max_examples=examples(100))
@given(questions, pools())
def test_the_formula(asked: Question, rows: Pool) -> None:
    weights = Weights()
    found = rank(asked, EAST, rows, weights=weights)
    if len(rows):
        scores, relevances = restated(asked, EAST, rows, weights)
        spread = np.ptp(found.context[rows.candidate]) if rows.candidate.any() else 0
        if spread == 0 or spread > 1e-3:
            assert found.score == pytest.approx(scores, abs=1e-4)
        assert found.relevance == pytest.approx(relevances, abs=1e-6)
    assert sorted(found.order.tolist()) == np.flatnonzero(rows.eligible).tolist()


@settings(deadline=None)
@given(questions, pools(), st.sampled_from(list(Mode)), st.randoms())
def test_bounds_order_and_independence_of_the_rows_order(
    asked: Question, rows: Pool, mode: Mode, random: object
) -> None:
    found = rank(asked, EAST, rows, mode)
    assert ((found.relevance >= 0) & (found.relevance <= 1)).all()
    assert np.isfinite(found.score).all()
    assert (found.score >= 0).all()
    keys = [(-found.score[i], rows.ids[i]) for i in found.order]
    assert keys == sorted(keys)
    results = rows.eligible & (found.matched > 0) if mode is Mode.KEYWORD else rows.eligible
    assert sorted(found.order.tolist()) == np.flatnonzero(results).tolist()

    shuffled = list(range(len(rows)))
    random.shuffle(shuffled)
    again = rank(asked, EAST, rows.only(np.array(shuffled, dtype=np.int64)), mode)
    assert again.relevance == pytest.approx(found.relevance[shuffled], abs=1e-6)
    if mode is Mode.KEYWORD:
        assert again.score == pytest.approx(found.score[shuffled], abs=2e-6)


@settings(deadline=None)
@given(questions, pools(), st.sampled_from(list(Mode)))
def test_relevance_beyond_the_pool_is_the_same_figure(asked: Question, rows: Pool, mode: Mode) -> None:
    found = rank(asked, EAST, rows, mode)
    again = relevance_only(asked, EAST, rows.terms, rows.vectors, found.idf, mode)
    assert again == pytest.approx(found.relevance)


def test_exact_candidates_are_the_best_of_each_leg_with_what_stands_around_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terms = [[9]] * 20
    terms[3] = [1]
    terms[4] = [1, 9, 9]
    cosines = [0.0] * 20
    cosines[12] = 0.9
    cosines[13] = 0.8
    rows = pool(*terms, vectors=at(*cosines))
    small = exact_candidates(question(1), EAST, rows, depth=1)
    assert small.ids == tuple("bcdef" + "klmno")
    assert [name for name, nominated in zip(small.ids, small.candidate, strict=True) if nominated] == ["d", "m"]
    barred = replace(rows, eligible=np.array([i not in (3, 12) for i in range(20)]))
    assert exact_candidates(question(1), EAST, barred, depth=1).ids == tuple("cdefg" + "lmnop")
    assert exact_candidates(question(1), None, rows, 1, Mode.KEYWORD).ids == tuple("bcdef")
    assert exact_candidates(question(1), EAST, rows, 1, Mode.VECTOR).ids == tuple("klmno")
    assert exact_candidates(question(7), None, rows, 1).ids == ()
    monkeypatch.setattr(ranking, "SURROUNDED", 1)
    cosines[17], cosines[13] = 0.8, 0.0
    apart = replace(rows, vectors=at(*cosines))
    assert exact_candidates(question(1), EAST, apart, depth=2).ids == tuple("bcdef" + "klmno" + "r")  # r is a second


def test_pools_are_joined_by_id() -> None:
    no = np.zeros(2, dtype=np.bool_)
    one = pool([1], [2], [3], candidate=np.array([True, False, False]), speaker=("Ann", "Bo", "Cy"))
    two = pool([9], [4], ids=("b", "x"), conversation=np.array([7, 7]), eligible=no)
    both = one.joined(two)
    assert both.ids == ("a", "b", "c", "x")
    assert both.candidate.tolist() == [True, True, False, True]  # b is one there
    assert [terms.tolist() for terms in both.terms] == [[1], [2], [3], [4]]  # and else as it is here
    assert both.eligible.tolist() == [*one.eligible.tolist(), False]
    assert both.conversation.tolist()[-1] == 7
    assert both.speaker[:3] == ("Ann", "Bo", "Cy")
    assert one.candidate.tolist() == [True, False, False]
    assert one.joined(one.only(np.array([], np.int64))).ids == one.ids
    assert one.only(np.array([], np.int64)).joined(one).ids == one.ids


@settings(deadline=None)
@given(pools(), pools())
def test_a_joined_pool_has_all_rows_of_both_once(one: Pool, two: Pool) -> None:
    both = one.joined(two)
    assert both.ids == tuple(dict.fromkeys(one.ids + two.ids))
    candidates = {id for each in (one, two) for id, is_one in zip(each.ids, each.candidate, strict=True) if is_one}
    assert {id for id, is_one in zip(both.ids, both.candidate, strict=True) if is_one} == candidates
    columns = (both.vectors, both.terms, both.speaker, both.date, both.position, both.ordinal, both.eligible)
    assert {len(column) for column in columns} == {len(both)}


@settings(deadline=None)
@given(questions, pools())
def test_exact_candidates_with_depth_for_all_keep_all(asked: Question, rows: Pool) -> None:
    every = replace(rows, eligible=np.ones(len(rows), dtype=np.bool_))
    small = exact_candidates(asked, EAST, every, depth=100)
    assert small.ids == rows.ids
    assert small.candidate.all()


def test_four_hundred_rows_take_about_a_millisecond() -> None:
    random = np.random.default_rng(1)
    n = 400
    vectors = random.normal(size=(n, 384)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rows = Pool(
        ids=tuple(f"{i:036d}" for i in range(n)),
        candidate=random.random(n) < 0.2,
        eligible=np.ones(n, dtype=np.bool_),
        conversation=np.sort(random.integers(0, 20, n)),
        position=np.arange(n),
        ordinal=np.zeros(n, dtype=np.int64),
        speaker=("Ann", "Bob") * (n // 2),
        date=random.integers(0, 2**50, n),
        terms=tuple(random.integers(0, 3000, random.integers(1, 40)).astype(np.uint32) for _ in range(n)),
        vectors=vectors,
    )
    asked = question(*range(8), asked=("Ann",), months=frozenset({5}))
    times = []
    found: list[Ranking] = []
    for _ in range(20):
        start = time.perf_counter()
        found.append(rank(asked, vectors[0], rows))
        times.append(time.perf_counter() - start)
    assert min(times) < 0.01  # 1 ms on a quiet machine
    assert all(order == found[0].order.tolist() for order, _ in groupby(r.order.tolist() for r in found))


def test_rows_without_a_vector_are_reached_by_their_terms_only() -> None:
    """At any depth, and whatever else is in the pool; a cosine of 0 is one all the same."""
    rows = pool([1], [9], [1], [9], vectors=np.array([[1, 0], [0, 1], [0, 0], [0, 0]], dtype=np.float32))
    for mode, vector, expected in (
        (Mode.HYBRID, EAST, [True, True, True, False]),
        (Mode.VECTOR, EAST, [True, True, False, False]),
        (Mode.KEYWORD, EAST, [True, False, True, False]),
        (Mode.HYBRID, None, [True, False, True, False]),
        (Mode.VECTOR, None, [False, False, False, False]),
    ):
        assert ranking.reached(question(1), vector, rows.terms, rows.vectors, mode).tolist() == expected
        apart = replace(rows, conversation=np.arange(4))  # nobody's neighbours
        found = exact_candidates(question(1), vector, apart, mode=mode)
        assert found.ids == tuple(id for id, inside in zip(rows.ids, expected, strict=True) if inside)
    relevance = rank(question(1), None, rows).relevance
    assert relevance == pytest.approx([1, 0, 1, 0])
