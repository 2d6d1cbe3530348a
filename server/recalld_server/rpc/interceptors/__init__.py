"""What surrounds every call, from the outside in. The order matters; each entry says why it stands where it does."""

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
    """The interceptors of a server."""
    return (
        admission,  # first: a refusal must cost next to nothing, so nothing else is done for it but asking who calls
        Correlation(),  # then: everything after it, errors and logs above all, names the call by its id
        Telemetry(instruments),  # before the rest, so that its time is the caller's
        Log(),  # sees the code that goes out, and refused callers too
        Errors(),  # turns whatever comes from further in into a status
        running,  # a server that stops does not ask who calls
        Auth(authenticator),  # asks before the request is received; within Errors, which tells who is refused why
        quota,  # last: it counts by key
    )
