"""Calls to a server of the MTurk protocol: the client, which failures pass and are tried again, and readable errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

from retest.crowd.parameters import CrowdParameters
from retest.errors import ConfigError, CrowdError, MissingExtraError

AMAZON_LIVE = "https://mturk-requester.us-east-1.amazonaws.com"
AMAZON_SANDBOX = "https://mturk-requester-sandbox.us-east-1.amazonaws.com"

ATTEMPTS = 6
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 20.0
_PREFIX = "AWS.MechanicalTurk."
_THROTTLED = {"ThrottlingException", "Throttling", "ThrottledException", "TooManyRequestsException", "RequestLimitExceeded", "SlowDown"}
_REMEDIES = {
    "HITDoesNotExist": "Publish it first, or check endpoint and live in the crowd settings",
    "AssignmentDoesNotExist": "Take ids from the collected answers; check endpoint and live in the crowd settings",
    "InvalidAssignmentState": "Approving a rejected answer needs override_rejection; an approved one cannot be rejected",
    "InvalidHITState": "Expire the HIT and decide on all of its answers first",
    "InvalidMaximumAssignmentsIncrease": "Publish another HIT with the same images instead",
    "InsufficientFunds": "Buy prepaid HITs, or publish fewer",
    "UnrecognizedClientException": "Check the access key and the secret key",
    "MissingAuthenticationTokenException": "The server wants signed requests: give the access key and the secret key",
    "InvalidSignatureException": "Check this computer's clock and the secret key",
    "AccessDeniedException": "Allow the key's owner to use Mechanical Turk (AmazonMechanicalTurkFullAccess)",
}


class MTurkCallError(CrowdError):
    """A call that failed.

    ``code`` is the TurkErrorCode without its prefix, or the kind of error; ``passing`` tells whether it may go away.
    """

    def __init__(self, problem: str, *, item: str | None = None, remedy: str | None = None, code: str = "", passing: bool = False) -> None:
        self.code, self.passing = code, passing
        super().__init__(problem, item=item, remedy=remedy or _REMEDIES.get(code, "Run the command again; nothing is published twice"))

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (self.problem, self.item, self.remedy, self.code, self.passing))


def _rebuild(problem: str, item: str | None, remedy: str | None, code: str, passing: bool) -> MTurkCallError:
    return MTurkCallError(problem, item=item, remedy=remedy, code=code, passing=passing)


def endpoint_of(parameters: CrowdParameters) -> str:
    """The address of the server, without a final slash.

    Raises:
        ConfigError: if it is no http(s) address, or contradicts ``live``.
    """
    if not parameters.endpoint:
        return AMAZON_LIVE if parameters.live else AMAZON_SANDBOX
    endpoint = parameters.endpoint.rstrip("/")
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"{endpoint!r} is not an http(s) address", item="endpoint", remedy="For example https://label.example.org")
    for address, live in ((AMAZON_LIVE, True), (AMAZON_SANDBOX, False)):
        if parts.hostname == urlsplit(address).hostname:
            if parameters.live is not live:
                word = "real money" if live else "the sandbox, which pays nothing"
                raise ConfigError(f"{endpoint} is {word}, but live is {parameters.live}", item="live", remedy="Change one of the two")
            return address
    return endpoint


def make_client(endpoint: str, *, keys: tuple[str, str] | None) -> Any:
    """A boto3 client that does not retry by itself; other servers than Amazon's never see Amazon credentials.

    Raises:
        MissingExtraError: if boto3 is not installed.
    """
    try:
        import boto3
        from botocore import UNSIGNED
        from botocore.config import Config
    except ImportError:
        raise MissingExtraError("boto3", "mturk") from None
    settings: dict[str, Any] = {"retries": {"total_max_attempts": 1, "mode": "standard"}, "connect_timeout": 10, "read_timeout": 60}
    if keys is None and endpoint not in (AMAZON_LIVE, AMAZON_SANDBOX):
        settings["signature_version"] = UNSIGNED
    key_id, secret = keys or (None, None)
    return boto3.session.Session().client(
        "mturk",
        region_name="us-east-1",
        endpoint_url=endpoint,
        aws_access_key_id=key_id,
        aws_secret_access_key=secret,
        config=Config(**settings),
    )


class MTurkCalls:
    """Makes calls through a boto3 client; throttling, server faults and lost connections are tried again with back-off.

    Every operation used may be repeated: creating carries a request token, the others set a state.

    Args:
        client: a boto3 client of service mturk.
        name: the crowd's name, for errors.
        sleep: waits for seconds.
        jitter: a number in [0, 1); spreads the attempts of several processes.
    """

    def __init__(self, client: Any, *, name: str, sleep: Callable[[float], None], jitter: Callable[[], float]) -> None:
        try:
            from botocore.exceptions import BotoCoreError, ClientError, ConnectionError, HTTPClientError
            from botocore.parsers import ResponseParserError
        except ImportError:
            raise MissingExtraError("boto3", "mturk") from None
        self._client, self._name, self._sleep, self._jitter = client, name, sleep, jitter
        self._client_error: type[Exception] = ClientError
        self._lost: tuple[type[Exception], ...] = (HTTPClientError, ConnectionError, ResponseParserError)
        self._other: type[Exception] = BotoCoreError

    def __call__(self, operation: str, *, item: str, **arguments: Any) -> dict[str, Any]:
        """Call an operation by its name in Python.

        Raises:
            MTurkCallError: if it is refused, or still fails after the last attempt; ``item`` is named in it.
        """
        for attempt in range(ATTEMPTS - 1):
            try:
                return self._once(operation, item, arguments)
            except MTurkCallError as error:
                if not error.passing:
                    raise
            wait_s = min(_FIRST_WAIT_S * 2**attempt, _LONGEST_WAIT_S)
            self._sleep(wait_s * (0.5 + 0.5 * self._jitter()))
        return self._once(operation, item, arguments)

    def pages(self, operation: str, key: str, *, item: str, **arguments: Any) -> Iterator[dict[str, Any]]:
        """All entries of a listing, page by page."""
        token: dict[str, str] = {}
        while True:
            response = self(operation, item=item, MaxResults=100, **token, **arguments)
            yield from response.get(key, [])
            if not response.get("NextToken"):
                return
            token = {"NextToken": response["NextToken"]}

    def _once(self, operation: str, item: str, arguments: dict[str, Any]) -> dict[str, Any]:
        try:
            response: dict[str, Any] = getattr(self._client, operation)(**arguments)
        except self._client_error as error:
            raise self._refusal(operation, item, getattr(error, "response", {})) from error
        except self._lost as error:
            problem = f"the {self._name} cannot be reached ({error})"
            raise MTurkCallError(problem, code="ConnectionLost", item=item, passing=True) from error
        except self._other as error:
            raise MTurkCallError(f"{operation} cannot be sent ({error})", code=type(error).__name__, item=item) from error
        return response

    def _refusal(self, operation: str, item: str, response: dict[str, Any]) -> MTurkCallError:
        kind, message = response.get("Error", {}).get("Code", ""), response.get("Error", {}).get("Message", "")
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        code = str(response.get("TurkErrorCode") or kind).removeprefix(_PREFIX)
        passing = kind in _THROTTLED or code == "AWS.ServiceUnavailable" or status == 429 or status >= 500
        return MTurkCallError(f"the {self._name} refused {operation}: {message} ({code})", code=code, item=item, passing=passing)
