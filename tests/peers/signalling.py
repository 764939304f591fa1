"""WHIP (RFC 9725) and WHEP for the peers in Python: one request to begin, one to leave."""

import json
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request

# Test traffic never goes to a proxy of the environment.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Resource:
    """A session on the server."""

    def __init__(self, url, token):
        self._url = url
        self._token = token
        self._location = None

    def offer(self, sdp):
        """Posts an offer and returns the answer."""
        try:
            with self._request("POST", self._url, sdp.encode()) as response:
                if response.status != 201:
                    raise RuntimeError(f"expected 201, got {response.status}")
                self._location = urllib.parse.urljoin(self._url, response.headers["Location"])
                return response.read().decode()
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"{error.code}: {error.read().decode(errors='replace')}\nthe offer:\n{sdp}") from error

    def leave(self):
        """Deletes the session."""
        if self._location is not None:
            self._request("DELETE", self._location).close()
            self._location = None

    def _request(self, method, url, body=None):
        request = urllib.request.Request(url, data=body, method=method)
        request.add_header("Authorization", f"Bearer {self._token}")
        if body is not None:
            request.add_header("Content-Type", "application/sdp")
        return _OPENER.open(request, timeout=15)


class Report:
    """What a peer has done so far; the test reads it line by line."""

    def __init__(self):
        self.connected = False
        self.counts = {"video": 0, "audio": 0}
        self.extra = {}

    def write(self):
        line = {"connected": self.connected, **self.counts, **self.extra}
        print(json.dumps(line), flush=True)


def when_input_ends(act):
    """Calls `act` from another thread when the test closes standard input, which means: leave."""

    def wait():
        sys.stdin.read()
        act()

    threading.Thread(target=wait, daemon=True).start()
