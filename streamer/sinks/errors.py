"""What can go wrong between a sink and its server, by who has to wait or change something."""

from streamer.errors import AnomalyLLMError


class DeliveryError(AnomalyLLMError):
    """A message was not delivered; the text says what the server answered."""


class SinkAwayError(DeliveryError):
    """The server does not answer, or asks for patience (429, 502, 503, 504): all of the sink's messages wait.

    `retry_after` is the number of seconds that the server asked for (RFC 9110, Retry-After), if it did.
    """

    retriable = True

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class SinkLockedOutError(DeliveryError):
    """Address or secret are wrong (301 to 308, 401, 403, 404, 405, 407, 410): no message of this sink would pass.

    Nothing in a message can mend it, so none is given up for it: they are kept for a while until a person has
    changed the configuration.
    """


class MessageFailedError(DeliveryError):
    """The server failed over this message (408, 500 and other 5xx): it is tried again, others go on."""

    retriable = True


class MessageRefusedError(DeliveryError):
    """The server will never take this message (other 4xx), or it cannot be made (a template fails)."""
