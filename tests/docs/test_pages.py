"""What the pages say of the tree: links, paths, lengths, and the parts that are generated."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from tests.docs.pages import DOCS, LINKING, PAGES, ROOT, named

SERVER = ROOT / "server" / "recalld_server"
ARCHITECTURE = (DOCS / "architecture.md").read_text()
DECISIONS = sorted((DOCS / "decisions").glob("[0-9]*.md"))
README_LINES = 120
GLOSSARY_ENTRIES = 25
TOOLS = "docs/generate"
LINK = r"\]\(([^)\s]+)\)"
GENERATED = "<!-- Begin of the generated part"


def outside_of_code(page: Path) -> str:
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """What a link may name on a page: its headings, as GitHub makes ids of them, and ids given by hand."""
    text = outside_of_code(page)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    made = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return made | set(re.findall(r'<a id="([^"]+)">', text))


@pytest.mark.parametrize("page", LINKING, ids=named)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(LINK, outside_of_code(page)):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_a_page_is_reached_from_the_readme_or_from_the_list_of_decisions() -> None:
    starts = (ROOT / "README.md", DOCS / "decisions" / "README.md")
    reached = {(page.parent / link).resolve() for page in starts for link in re.findall(LINK, page.read_text())}
    assert [named(page) for page in PAGES[1:] if page not in reached] == []


def test_llms_txt_names_every_page() -> None:
    """The convention of llms.txt: a title, a summary, and lists of links with a few words for each."""
    text = (ROOT / "llms.txt").read_text()
    assert re.match(r"# recalld\n\n> .+\n\n## Docs\n", text)
    links = re.findall(r"^- \[[^\]]+\]\(([^)]+)\): \S.*$", text, re.MULTILINE)
    assert len(links) == text.count("](")
    assert {ROOT / link for link in links} >= set(PAGES) - set(DECISIONS)
    assert all((ROOT / link).is_file() for link in links)


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= README_LINES


def test_the_glossary_is_short() -> None:
    glossary = ARCHITECTURE.partition("\n## Glossary\n")[2].partition("\n## ")[0]
    words = re.findall(r"^- \*\*(.+?)\*\*: ", glossary, re.MULTILINE)
    assert 10 < len(set(words)) == len(words) <= GLOSSARY_ENTRIES


def test_paths_that_the_architecture_names_exist() -> None:
    """Code spans with a slash, and names of files; below the server's package or the root of the repository."""
    spans = set(
        re.findall(r"`([\w./-]+/[\w./-]*|[\w/-]+\.(?:py|md|proto))`", outside_of_code(DOCS / "architecture.md"))
    )
    paths = {span for span in spans if not span.startswith("/")}  # /readyz is asked for by HTTP
    assert {"domain/ranking.py", "tests/contract/index_suite.py", "adapters/ledger/schema/"} <= paths
    assert [path for path in sorted(paths) if not ((SERVER / path).exists() or (ROOT / path).exists())] == []


def test_names_that_the_architecture_finds_in_a_file_are_there() -> None:
    """Such as "`usecases/add.py`: `Add.add`": the last name is defined in that file."""
    for path, name in re.findall(r"`([\w/]+\.py)`:\s+`(?:\w+\.)?(\w+)`", ARCHITECTURE):
        source = (SERVER / path).read_text()
        assert re.search(rf"\b(def|class) {name}\b", source), (path, name)


def test_decisions_say_what_was_chosen_and_why() -> None:
    assert [int(page.name[:4]) for page in DECISIONS] == list(range(1, len(DECISIONS) + 1))
    for page in DECISIONS:
        text = page.read_text()
        assert text.startswith(f"# {int(page.name[:4])}. "), page.name
        assert "**Chosen.**" in text or page.stem.endswith(("grpc", "dependencies")), page.name


def test_every_dependency_has_a_reason() -> None:
    [page] = [page for page in DECISIONS if page.stem.endswith("dependencies")]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["fleet"]]
    names = {re.split(r"[\[<>=; ]", requirement)[0] for requirement in wanted}
    rows = [re.sub(r"\(.*?\)", "", row) for row in re.findall(r"^\| (.+?) \|", page.read_text(), re.MULTILINE)]
    assert {name.strip() for row in rows[1:] for name in row.split(",")} - {"---"} == names


def generate(*arguments: str | Path) -> tuple[int, str]:
    command = [sys.executable, ROOT / TOOLS, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stderr


def test_generated_parts_are_fresh() -> None:
    assert generate("--check") == (0, ""), f"run: python {TOOLS}"


def test_a_stale_part_is_noticed_and_made_anew(tmp_path: Path) -> None:
    pages = [page for page in sorted(DOCS.glob("*.md")) if GENERATED in page.read_text()]
    assert {page.name for page in pages} == {"api.md", "architecture.md", "configuration.md", "errors.md"}
    for page in pages:
        before, begin, part = page.read_text().partition(GENERATED)
        (tmp_path / page.name).write_text("Kept.\n" + before + begin + part.replace("\n| ", "\n| old ", 1))
    assert generate("--check", "--docs", tmp_path) == (1, "".join(f"stale: {page.name}\n" for page in pages))
    assert generate("--docs", tmp_path) == (0, "".join(f"written: {page.name}\n" for page in pages))
    for page in pages:
        assert (tmp_path / page.name).read_text() == "Kept.\n" + page.read_text()
