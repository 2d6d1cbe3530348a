"""Categories of statements."""

from __future__ import annotations

import pytest

from recalld_server.domain.extraction.categories import CustomCategories, analyser_for, categorise


@pytest.mark.parametrize(
    ("text", "categories"),
    [
        ("Name is Alex", {"personal_details"}),
        ("Is a vegetarian", {"food_preferences", "food"}),
        ("Is allergic to nuts", {"food_preferences", "food", "health"}),
        ("Likes pizza and pasta", {"likes", "food_preferences", "food"}),
        ("Interested in vegetarian restaurants in Tokyo", {"food_preferences", "food"}),
        ("Doesn't eat meat", {"food_preferences", "food"}),
        ("Ate a burger at the station", {"food"}),
        ("Planning a trip to Japan next month", {"travel"}),
        ("Travelling to SF", {"travel"}),
        ("Likes to travel to beach destinations", {"likes", "travel"}),
        ("Sister Anna lives in Paris", {"family", "personal_details"}),
        ("Works as a nurse", {"professional_details"}),
        ("Plays tennis every Sunday", {"sports"}),
        ("Plays the violin", {"music"}),
        ("Has diabetes", {"health"}),
        ("Bought a new laptop", {"technology"}),
        ("Paints watercolours", {"hobbies"}),
        ("Wears red sneakers", {"fashion"}),
        ("Watched a documentary", {"entertainment"}),
        ("Graduated in 2019", {"milestones"}),
        ("Prefers dark mode", {"user_preferences"}),
        ("Is alex", {"misc"}),
        ("是素食主义者,对坚果过敏", {"misc"}),
        ("", {"misc"}),
    ],
)
def test_categories(text: str, categories: set[str]) -> None:
    assert set(categorise(text)) == categories


def test_would_like_and_looks_like_are_no_likes() -> None:
    assert "likes" not in categorise("Would like to book a room")
    assert "likes" not in categorise("Looks like rain")


def test_the_order_is_fixed() -> None:
    assert categorise("Likes pizza and pasta")[:2] == ("likes", "food_preferences")
    assert categorise("pasta and pizza are what she likes")[:2] == ("likes", "food_preferences")


def chosen(text: str, custom: list[tuple[str, str]], language: str) -> tuple[str, ...]:
    categories = CustomCategories(analyser_for(language))
    for name, description in custom:
        categories.define(name, description)
    return categories.of(analyser_for(language).tokens(text), categorise(text))


@pytest.mark.parametrize(
    ("text", "categories"),
    [
        ("Likes cooking with garlic", ("kitchen",)),
        ("Likes pizza", ("kitchen",)),
        ("Has two cats", ("pets",)),
        ("Cooks for the cat", ("kitchen", "pets")),
        ("Plays tennis", ()),
    ],
)
def test_custom_categories_fit_by_their_words_or_by_a_built_in_category(text: str, categories: tuple[str, ...]) -> None:
    custom = [("kitchen", "Cooking, recipes and food"), ("pets", "Cats, dogs and other animals")]
    assert chosen(text, custom, "english") == categories


def test_custom_categories_follow_the_language() -> None:
    custom = [("haustiere", "Katzen und Hunde")]
    assert chosen("Hat eine Katze", custom, "german") == ("haustiere",)


def test_custom_categories_are_told_once_and_in_the_order_they_were_defined() -> None:
    custom = [("pets", "dogs"), ("kitchen", "garlic"), ("pets", "cats")]
    assert chosen("Feeds garlic to the cat", custom, "english") == ("pets", "kitchen")


def test_an_unknown_language_reads_as_english() -> None:
    assert analyser_for("klingon") is analyser_for("english")
