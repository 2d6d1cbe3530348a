"""Status 0 when the server in this container answers, 1 when not: the image's HEALTHCHECK.

Asks /healthz, not /readyz: a container is not to be ended because a store is away for a while.
"""

from __future__ import annotations

import http.client
import os
import sys

SECONDS = 2.0


def healthy(port: int) -> bool:
    """Whether /healthz on loopback answers 200 in time; proxies of the environment are not asked."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(0 if healthy(int(os.environ.get("RECALLD_HTTP_PORT", "7421"))) else 1)
