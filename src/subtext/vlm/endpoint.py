"""A model behind an OpenAI-compatible server (vLLM, SGLang, llama-server): on this machine, unless told otherwise.

Nothing is sent anywhere by default. A redirect is not followed and a proxy of the environment is not used, since either
would carry the clips elsewhere; the address that was checked is the one that is connected to.
"""

import base64
import email.utils
import http.client
import ipaddress
import json
import logging
import math
import os
import re
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import numpy as np
from annotated_types import Interval

from subtext.core.schema import Natural, checked
from subtext.errors import ConfigError, RunError
from subtext.manifest.description import Description
from subtext.vlm.answers import Answer, folded
from subtext.vlm.inputs import Sample, Vlm
from subtext.vlm.spec import VlmSpec
from subtext.vlm.store import key_of

log = logging.getLogger(__name__)

LISTED: Final = 20
"""Tokens whose log-probability is asked for; the interface allows no more."""
MOST_BYTES: Final = 4 * 2**20
"""Of an answer; what is longer is broken."""
LONGEST_WAIT: Final = 60.0
"""Seconds between two tries, whatever a server asks for."""
_AGAIN: Final = (408, 429, 500, 502, 503, 504)
_TOO_LONG: Final = (413, 422)


@checked
@dataclass(frozen=True, kw_only=True)
class EndpointSpec:
    """Where a server is and how patiently it is asked.

    Attributes:
        url: such as `http://127.0.0.1:8000/v1`; `/chat/completions` is added.
        model: its name there; another name for other weights, since answers are kept under it.
        key_variable: environment variable that holds the key, where the server wants one.
        timeout: seconds for one answer.
        retries: tries after the first one.
        allow_remote: ask a server on another machine; clips and words then leave this one.
    """

    url: str
    model: str
    key_variable: str | None = None
    timeout: Annotated[float, Interval(gt=0, le=86400)] = 120.0
    retries: Natural = 5
    allow_remote: bool = False

    def __post_init__(self) -> None:
        if not self.model:
            raise ConfigError("endpoint.model is empty; write the model's name at the server")


class Refused(RunError):
    """A server can't take this prompt, such as one that is too long; others it can."""


@dataclass(frozen=True)
class Written:
    """What a server answered.

    Attributes:
        text: of the answer.
        listed: the first token's likeliest alternatives with their log-probabilities; empty where there are none.
        tokens: of the prompt, None where it doesn't say.
    """

    text: str
    listed: Sequence[tuple[str, float]]
    tokens: int | None


class Endpoint:
    """Asks a server.

    Args:
        spec: which one.

    Raises:
        ConfigError: the address cannot be used, or is on another machine and `allow_remote` isn't set.
    """

    def __init__(self, spec: EndpointSpec) -> None:
        self.spec = spec
        try:
            parts = urlsplit(spec.url)
            self._host, self._port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        except ValueError as error:
            raise ConfigError(f"endpoint.url={spec.url}: no address ({error})") from error
        if (
            parts.scheme not in ("http", "https")
            or not self._host
            or parts.username
            or parts.query
            or parts.fragment
            or not re.fullmatch(r"[!-~]*", spec.url)
        ):
            raise ConfigError(f"endpoint.url={spec.url}: write http://HOST:PORT/v1, without user, key or query")
        self._secure, self._path = parts.scheme == "https", parts.path.rstrip("/") + "/chat/completions"
        self._local = self._address() is not None
        if not self._local and not spec.allow_remote:
            raise ConfigError(
                f"endpoint.url={spec.url} is not on this machine, so that clips would leave it; use a server on "
                "127.0.0.1, or set endpoint.allow_remote=true if that is allowed"
            )
        key = None if spec.key_variable is None else os.environ.get(spec.key_variable)
        if spec.key_variable is not None and not key:
            raise ConfigError(f"endpoint.key_variable={spec.key_variable}: there is no such environment variable")
        if key and not key.isascii():
            raise ConfigError(f"endpoint.key_variable={spec.key_variable}: the key holds what no header can")
        self._headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})

    def check(self, description: Description) -> None:
        """Whether a corpus may be sent there; warns where it leaves the machine.

        Raises:
            ConfigError: its description forbids that.
        """
        if self._local:
            return
        if not description.may_leave_machine:
            raise ConfigError(
                f"{description.title}: its description does not allow sending it to another machine "
                f"({description.licence}); use a server on 127.0.0.1"
            )
        log.warning("pictures and words of %s leave this machine for %s", description.title, self._host)
        if not self._secure:
            log.warning("%s is asked without encryption; use https", self._host)

    def ask(self, text: str, images: Sequence[np.ndarray], tokens: int, *, listed: bool = True) -> Written:
        """One question.

        Args:
            text: of the user's turn.
            images: uint8 RGB, sent as PNG before it.
            tokens: most new tokens.
            listed: ask for the first token's log-probabilities.

        Raises:
            Refused: the prompt is too long for the server.
            RunError: the server cannot be reached, answers with an error or with what cannot be read, after all tries.
        """
        content: list[dict[str, Any]] = [{"type": "image_url", "image_url": {"url": _png(image)}} for image in images]
        content.append({"type": "text", "text": text})
        body: dict[str, Any] = {
            "model": self.spec.model,
            "messages": [{"role": "user", "content": content}],
            "max_tokens": tokens,
            "temperature": 0,
            "stream": False,
        }
        if listed:
            body |= {"logprobs": True, "top_logprobs": LISTED}
        sent = json.dumps(body).encode()
        why = ""
        for turn in range(self.spec.retries + 1):
            try:
                status, headers, received = self._post(sent)
                if status == 200:
                    return _written(received)
                # What the server says of it is not passed on: it may repeat the prompt.
                why = f"status {status}"
                if 300 <= status < 400:
                    raise RunError(f"{self.spec.url} redirects elsewhere, which is not followed; set the right address")
                if status in _TOO_LONG or (status == 400 and b"context" in received):
                    raise Refused(f"the server cannot take the prompt ({why})")
                if status not in _AGAIN:
                    raise RunError(
                        f"{self.spec.url} answers with {why}; see the server's log and mend the endpoint's settings. "
                        f"{_KEPT}"
                    )
                wait = _asked_to_wait(headers.get("retry-after"), turn)
            except (OSError, http.client.HTTPException, _Broken) as error:
                why, wait = _reason(error), _asked_to_wait(None, turn)
            if turn < self.spec.retries:
                log.info("%s: %s; again in %.1f s", self.spec.url, why, wait)
                time.sleep(wait)
        raise RunError(f"{self.spec.url} gives no answer after {self.spec.retries + 1} tries ({why[:300]}). {_KEPT}")

    def _address(self) -> str | None:
        """A loopback address of the host; None where any of its addresses is on another machine."""
        try:
            found = [str(entry[4][0]) for entry in socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)]
            return found[0] if found and all(ipaddress.ip_address(one).is_loopback for one in found) else None
        except (OSError, ValueError, UnicodeError):
            return None

    def _post(self, body: bytes) -> tuple[int, Mapping[str, str], bytes]:
        host = self._host
        if self._local:
            address = self._address()
            if address is None:
                raise RunError(f"{self.spec.url} is not on this machine any more; nothing was sent")
            host = host if self._secure else address
        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        connection = kind(host, self._port, timeout=self.spec.timeout)
        # A server that sends a byte now and then would outlast the time-out of every single read.
        ended = threading.Event()
        watch = threading.Timer(self.spec.timeout, _end, [connection, ended])
        watch.daemon = True
        watch.start()
        try:
            connection.request("POST", self._path, body, self._headers)
            response = connection.getresponse()
            received = response.read(MOST_BYTES + 1)
            if len(received) > MOST_BYTES:
                raise _Broken(f"an answer of more than {MOST_BYTES} bytes")
            if ended.is_set():
                raise TimeoutError(f"no whole answer within {self.spec.timeout:g} s")
            return response.status, {k.lower(): v for k, v in response.getheaders()}, received
        except (OSError, http.client.HTTPException, ValueError, AttributeError) as error:
            if ended.is_set():
                raise TimeoutError(f"no whole answer within {self.spec.timeout:g} s") from error
            raise
        finally:
            watch.cancel()
            connection.close()


_KEPT: Final = "What was answered is kept: the same command goes on"


class RemoteVlm(Vlm):
    """A family's model behind a server: pictures are sent one by one, or tiled where the family wants that.

    Args:
        spec: the family; where its model is and how it runs is the server's affair.
        endpoint: the server.
    """

    def __init__(self, spec: VlmSpec, endpoint: Endpoint) -> None:
        self.spec = replace(
            spec, frames="tiled" if spec.frames == "tiled" else "images", path=endpoint.spec.model, device="endpoint"
        )
        self.endpoint = endpoint

    @property
    def digest(self) -> str:
        """Of the server's address and the model's name, which is all that is known of it."""
        return key_of(url=self.endpoint.spec.url, model=self.endpoint.spec.model)

    def render(self, sample: Sample) -> str:
        """What is sent; the server puts it into the model's own chat template."""
        count = 0 if sample.frames is None else len(self._pictures(sample.frames))
        return f"[{count} pictures]\n{sample.text}"

    def write(self, sample: Sample, tokens: int, *, listed: bool) -> Written:
        """The server's answer; see `Endpoint.ask`."""
        return self.endpoint.ask(sample.text.strip(), list(self._pictures(sample.frames)), tokens, listed=listed)

    def answer(self, sample: Sample, options: Sequence[str], tokens: int, *, listed: bool) -> tuple[Answer, int | None]:
        """An answer, and the tokens of its prompt.

        An option that is not among the listed tokens gets the least listed log-probability, the most that it can have;
        where none of them is listed, there is no log-probability at all.

        Args:
            sample: the question.
            options: answers in question.
            tokens: most new tokens.
            listed: ask for log-probabilities.

        Raises:
            RunError: the server gives no log-probabilities, or see `Endpoint.ask`.
        """
        written = self.write(sample, tokens, listed=listed)
        if listed and not written.listed:
            raise RunError(f"{self.endpoint.spec.url} gives no log-probabilities; use answer=generation")
        found: dict[str, list[float]] = {option: [] for option in options}
        for token, value in written.listed:
            for option in options:
                if folded(token.strip(), option) == folded(option, option):
                    found[option].append(value)
        if not any(found.values()):
            return Answer({}, written.text), written.tokens
        least = min(value for _, value in written.listed)
        logs = {o: float(np.logaddexp.reduce(values)) if values else least for o, values in found.items()}
        return Answer(logs, written.text), written.tokens


class _Broken(Exception):
    """An answer that is none."""


def _end(connection: http.client.HTTPConnection, ended: threading.Event) -> None:
    ended.set()
    with suppress(OSError, AttributeError):
        connection.sock.shutdown(socket.SHUT_RDWR)


def _asked_to_wait(header: str | None, turn: int) -> float:
    """Seconds until the next try: as the server asks, within bounds, else longer each time."""
    wait = 0.5 * 2.0**turn
    if header is not None:
        try:
            wait = float(header)
        except ValueError:
            with suppress(ValueError, TypeError, IndexError):
                wait = email.utils.parsedate_to_datetime(header).timestamp() - time.time()
    return min(max(wait, 0.0), LONGEST_WAIT) if math.isfinite(wait) else LONGEST_WAIT


def _written(received: bytes) -> Written:
    try:
        content = json.loads(received)
        choice = content["choices"][0]
        text = choice["message"]["content"] or ""
        first = ((choice.get("logprobs") or {}).get("content") or [{}])[0]
        listed = [(str(one["token"]), float(one["logprob"])) for one in first.get("top_logprobs") or []]
        tokens = (content.get("usage") or {}).get("prompt_tokens")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
        raise _Broken(f"the answer is not as the interface says ({type(error).__name__})") from error
    if not isinstance(text, str) or not (tokens is None or isinstance(tokens, int)):
        raise _Broken("the answer is not as the interface says (no text)")
    if any(not math.isfinite(value) or value > 1e-3 for _, value in listed):
        raise _Broken("a log-probability is none")
    return Written(text, listed, tokens)


def _reason(error: Exception) -> str:
    """Why there is no answer, in words of the system or of ours: the server's may repeat the prompt."""
    name = type(error).__name__.lstrip("_")
    return name if isinstance(error, http.client.HTTPException) else f"{name}: {error}"


def _png(image: np.ndarray) -> str:
    from PIL import Image

    buffer = BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
