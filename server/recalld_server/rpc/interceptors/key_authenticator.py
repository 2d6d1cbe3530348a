"""The authenticator of a server: development mode until the first API key exists, API keys from then on."""

from __future__ import annotations

from collections.abc import Mapping

from recalld_server.domain.errors import KeyInvalid, KeyMissing, RoleInsufficient
from recalld_server.domain.keys import ApiKey
from recalld_server.rpc.interceptors.auth import development
from recalld_server.rpc.roles import RULES
from recalld_server.usecases.keys import PREFIX, Keys

SCHEMES = ("bearer", "token")
# In development mode callers have the role ADMIN, so OPERATOR is the only role that they can lack.
KEYLESS = (
    "This call needs an API key of role OPERATOR, and the server has no keys yet. Create one with "
    "`recalld keys create --role operator`; from then on every call needs a key."
)


class KeyAuthenticator:
    """An `auth.Authenticator`: returns the API key of a call, given its method and metadata.

    Raises KeyMissing, KeyInvalid, KeyExpired, KeyRevoked, RoleInsufficient, OriginRefused, LedgerUnavailable.
    """

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    async def __call__(self, method: str, given: Mapping[str, str]) -> ApiKey:
        # A caller that sends a key knows that keys exist, so be sure. Without a key, the cached answer must do: to ask
        # the ledger at every call would cost as much as a get.
        keyed = await self._keys.begun(sure="authorization" in given)
        key = await (self._keys.authenticate(_credential(given)) if keyed else development(method, given))
        rule = RULES.get(method)
        if rule is None or not rule.admits(key):
            text = "" if keyed or rule is None else KEYLESS
            raise RoleInsufficient(text, role=key.role.name, needed=rule.needed if rule else "nobody's")
        return key


def _credential(given: Mapping[str, str]) -> str:
    header = given.get("authorization", "").strip(" ")
    if not header:
        raise KeyMissing
    if "," in header:
        raise KeyInvalid("There is more than one authorization header; send one.")
    if not (header.isascii() and header.isprintable()):
        raise KeyInvalid("The authorization header has a character that is not printable ASCII; API keys have none.")
    if header.startswith(PREFIX):
        raise KeyInvalid("The authorization header has no scheme; send `authorization: Bearer rk_…`.")
    scheme, _, credential = header.partition(" ")
    if scheme.lower() not in SCHEMES:
        raise KeyInvalid("The authorization header must be `Bearer rk_…` or `Token rk_…`.")
    return credential.strip(" ")
