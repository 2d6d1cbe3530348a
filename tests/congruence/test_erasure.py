"""No file contains forgotten memories, wherever the engines have moved their rows before."""

from __future__ import annotations

import random
from pathlib import Path

from tests.congruence.small_world import OwnClock, opened

from recalld_server.domain.commands import AddCommand
from recalld_server.domain.memory import Access, Message, Scope
from recalld_server.usecases.erasure import PerEngine
from recalld_server.usecases.forgetting import ForgetCommand
from recalld_server.usecases.memories import Update

HERE = Access("default")
LENGTHS = (1, 5, 60, 400)  # words: a few rows a page, one row a page, and rows that overflow theirs


def found(folder: Path, *words: str) -> list[tuple[str, str]]:
    """(file, word) for each of the words that a file holds, in whatever case."""
    contents = {file.name: file.read_bytes().lower() for file in folder.iterdir()}
    return [(name, word) for name, content in contents.items() for word in words if word.encode() in content]


async def test_no_trace_is_left_by_rows_of_any_length(tmp_path: Path) -> None:
    """With just these rows, copies stayed in the gaps of rebalanced pages until files were rewritten."""
    choose = random.Random(0)
    recalld = await opened(tmp_path, OwnClock())
    words, live = {"xanthippe": "zwiesel", "bob": "hometown"}, dict[str, list[str]](xanthippe=[], bob=[])
    for n in range(400):
        user = choose.choice(list(words))
        text = f"{words[user]} {n} " + f"{words[user]} " * choose.choice(LENGTHS)
        said = [Message("user", f"{m} {text}", user) for m in range(choose.choice((1, 2, 5)))]
        scope = Scope(user_id=user, run_id=f"{words[user]}-{n % 7}")
        command = AddCommand(scope, said, {"place": words[user]}, infer=False)
        live[user] += [result.memory.id for result in (await recalld.add.add(HERE, command)).results]
        if n % 2:
            update = Update(choose.choice(live[user]), {"text": f"again {text} {n}"})
            await recalld.memories.update(HERE, [update], None)
        if n % 5 == 0:
            await recalld.memories.delete(HERE, [live[user].pop(choose.randrange(len(live[user])))], None)
    receipt = await recalld.forgetting.forget(HERE, ForgetCommand(Scope(user_id="xanthippe")))
    unclear = {"ledger_file", "caches", "index_file", "backups"}
    assert {leg.name for leg in receipt.legs if leg.state.value != "EMPTY"} <= unclear
    assert await recalld.erasure.cleared(60) == PerEngine(ledger=True, index=True)
    receipt = await recalld.forgetting.forget(HERE, ForgetCommand(Scope(user_id="xanthippe")))
    assert [leg.name for leg in receipt.legs if leg.state.value != "EMPTY"] == ["backups"]
    assert found(tmp_path, "xanthippe", "zwiesel") == []
    assert ("ledger.db", "hometown") in found(tmp_path, "hometown")
    await recalld.close()
