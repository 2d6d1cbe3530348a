"""First-person and second-person words in the most frequent languages of chats."""

from __future__ import annotations

import re

from recalld_server.domain.extraction.sentences import bare
from recalld_server.domain.extraction.word_lists import word_set

SUBJECTS = word_set(
    """
    i i'm i've ive i'd i'll we we're we've we'll ich wir je j'ai nous yo nosotros io noi eu nós ik wij jag vi jeg
    ja я мы ben biz 我 我们 我們 私 僕 俺 나는 저는
    """
)
"""First-person pronouns as the subject of a sentence, and their contractions."""

_SPEAKING = (
    SUBJECTS
    | {"im", "my"}
    | word_set(
        """
        me mine us our myself you your you're yours mein meine meinen meiner meinem mich mir uns unser unsere du dich
        dir dein deine ihr euch bin hab habe mon ma mes moi tu te toi ton ta tes vous votre vos suis j'aime j'habite
        me mi mis nos usted tú tus soy estoy vivo tengo odio quiero prefiero trabajo mio mia miei mie ti tuo tua sono
        ho abito lavoro meu minha meus minhas você vocês sou estou moro tenho mijn me mij jij je jouw ben heb mig min
        mitt meg mitt du dig mnie mam jestem mój moja ty меня мне мой моя мои ты вы тебя вас benim sen 你 您
        """
    )
)
_UNSPACED = re.compile("[我你您私僕俺咱]|나는|저는|내가|제가")


def speaks(text: str) -> bool:
    """Return whether the first 400 characters of a text have a first-person or second-person word."""
    head = text[:400]
    if _UNSPACED.search(head):
        return True
    words = (bare(word) for word in head.split())
    return any(word in _SPEAKING or word.startswith(("i'", "j'", "m'", "t'")) for word in words)
