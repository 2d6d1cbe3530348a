"""Pure rules and nouns: memories, filters and their meaning, text analysis, ranking, extraction, errors, limits."""
