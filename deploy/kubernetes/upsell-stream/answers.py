"""What `helm test` runs, in a pod of the image: are the workers ready, and are there figures?

Arguments: the address of the Service with ready workers, that of the Service with all workers, and the file with the token of the HTTP server if there is
one. Exit status 1 says why on standard output.
"""

import json
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Final

PATIENCE: Final = 60.0
"""Seconds to wait for the first answer. A worker that has just become ready may have no figures yet."""


def answer(url: str, token: str) -> tuple[int, dict[str, Any]]:
    """Status and document; status 0 if nothing answers."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(request, timeout=5) as response:
            return response.status, document(response.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, document(error.read())
    except OSError as error:
        return 0, {"error": str(error)}


def document(body: bytes) -> dict[str, Any]:
    """The body of an answer, empty if it is no JSON object."""
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def main(service: str, page: str, token_file: str | None = None) -> int:
    """Ask until both answers are good, at most for `PATIENCE` seconds. Return the exit status."""
    token = Path(token_file).read_text(encoding="utf-8").strip() if token_file else ""
    end = time.monotonic() + PATIENCE
    while True:
        ready, _ = answer(f"{service}/readyz", token)
        status, rates = answer(f"{service}/api/v1/rates", token)
        if ready == status == 200:
            break
        if time.monotonic() >= end:
            return failure(service, page, token, ready, status, rates)
        time.sleep(1)
    print("ready: at least one worker")
    for journey, state in rates.get("state", {}).items():
        print(f"{journey}: {state['state']}", *(reason["text"] for reason in state["reasons"]), sep="\n  ")
    return 0


def failure(service: str, page: str, token: str, ready: int, status: int, rates: dict[str, Any]) -> int:
    """Say what is wrong. Return the exit status."""
    if ready == 200:
        print(f"{service}/api/v1/rates answers {status}: {rates.get('error', 'without a reason')}")
        return 1
    print(f"no worker is ready: {service}/readyz answers {ready or 'nothing'}")
    _, unready = answer(f"{page}/readyz", token)
    print("one of the workers says why:", *unready.get("reasons", [unready.get("error")]), sep="\n  ")
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
