"""The interceptors of every call, outermost first. The order matters; a comment on each entry gives the reason."""

from __future__ import annotations

from collections.abc import Sequence

import grpc

from recalld_server.rpc.interceptors.admission import Admission
from recalld_server.rpc.interceptors.auth import Auth, Authenticator
from recalld_server.rpc.interceptors.correlation import Correlation
from recalld_server.rpc.interceptors.errors import Errors
from recalld_server.rpc.interceptors.in_flight import InFlight
from recalld_server.rpc.interceptors.log import Log
from recalld_server.rpc.interceptors.quota import Quota
from recalld_server.rpc.interceptors.telemetry import Telemetry
from recalld_server.telemetry.instruments import Instruments


def chain(
    admission: Admission, running: InFlight, quota: Quota, authenticator: Authenticator, instruments: Instruments
) -> Sequence[grpc.aio.ServerInterceptor]:
    """The interceptors of a server, outermost first."""
    return (
        admission,  # first: a refusal must cost almost nothing, so only authentication runs before it
        Correlation(),  # second: everything inside it, errors and logs above all, refers to the call by its id
        Telemetry(instruments),  # outside the rest, so that it measures the time that the caller sees
        Log(),  # outside Errors and Auth, so that it sees the final code and refused callers
        Errors(),  # converts all exceptions of the inner interceptors and the handler to a status
        running,  # outside Auth: a stopping server refuses calls without authentication
        Auth(authenticator),  # authenticates before the request is received; inside Errors, which renders the refusal
        quota,  # last: it counts by API key
    )
