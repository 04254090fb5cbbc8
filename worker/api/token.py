"""One token for all requests: asked for once at a time, renewed shortly before its end.

Source: Ditio's public documentation, authentication (client credentials).
"""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode

import msgspec

from worker.api.access import Access
from worker.api.exchange import Exchange
from worker.api.flight import SingleFlight
from worker.api.http import ATTEMPTS, RETRY_BASE_S, RETRY_CAP_S
from worker.api.patience import Patience
from worker.api.response import error_code, said
from worker.core.backoff import full_jitter
from worker.core.errors import ApiError, Outage, PauseCause
from worker.ports import Clock

EARLY_S = 60.0
EARLY_SHARE = 0.1
"""A token is renewed about so long, or such a share of its life, before its end, whichever is less: half as long to half as long
again, so that workers that were started together do not all ask at once."""


class Grant(msgspec.Struct, frozen=True):
    """The identity server's answer."""

    access_token: Annotated[str, msgspec.Meta(min_length=1)]
    expires_in: float = 1800


class NoToken(Outage):
    """There is no token to be had. `error` is the identity server's code (`invalid_client`, `invalid_scope`, …), if it gave one."""

    def __init__(self, cause: PauseCause, detail: str, error: str = "") -> None:
        super().__init__(cause, detail)
        self.error = error


class TokenSource:
    """Hands out the token."""

    def __init__(self, access: Access, exchange: Exchange, clock: Clock, patience: Patience) -> None:
        self._access = access
        self._exchange = exchange
        self._clock = clock
        self._patience = patience
        self._token = ""
        self._good_until = 0.0
        self._renewed = SingleFlight(self._renew)

    async def get(self) -> str:
        """A token that is good for a while. Raises Outage, Abandoned."""
        if self._clock.monotonic() >= self._good_until:
            await self._renewed()
        return self._token

    def spoil(self, token: str) -> None:
        """This token was refused; if nobody has renewed it yet, the next request does."""
        if token == self._token:
            self._good_until = 0.0

    async def _renew(self) -> None:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                grant = await self._ask()
                break
            except ApiError as error:
                if attempt == ATTEMPTS:
                    raise NoToken("circuit", f"no token: {error.detail}") from error
                await self._patience.sleep(full_jitter(attempt, base=RETRY_BASE_S, cap=RETRY_CAP_S, chance=self._clock.chance()))
        early = min(EARLY_S, grant.expires_in * EARLY_SHARE) * (0.5 + self._clock.chance())
        self._token, self._good_until = grant.access_token, self._clock.monotonic() + grant.expires_in - early

    async def _ask(self) -> Grant:
        """Raises ApiError for what may pass, Outage for what a person must mend."""
        secret = self._access.client_secret()
        form = {
            "grant_type": "client_credentials",
            "client_id": self._access.client_id,
            "client_secret": secret,
            "scope": self._access.scope,
        }
        url = f"{self._access.identity_base.rstrip('/')}/connect/token"
        headers = {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded"}
        status, _, body = await self._exchange.make("token", "POST", url, headers, urlencode(form).encode())
        if 200 <= status < 300:
            try:
                return msgspec.json.decode(body, type=Grant, strict=False)
            except msgspec.MsgspecError as error:
                raise ApiError("token: the identity server's answer holds no token", status=status) from error
        if 400 <= status < 500 and status not in (408, 429):
            sentence = f"the identity server refuses the client ({status}): {said(body, secret) or 'without a word'}"
            raise NoToken(
                "credentials",
                f"{sentence}; check DITIO_CLIENT_ID, DITIO_CLIENT_SECRET, DITIO_SCOPE and the environment",
                error_code(body),
            )
        raise ApiError(f"token: the identity server answered {status}", status=status)
