"""One root for every exception of the project; each says whether trying again can help."""


class AnomalyLLMError(Exception):
    """Root of all errors raised on purpose.

    `retriable` is True when the same call may succeed later without anybody changing anything
    (a server is away), False when input, code or settings must change first.
    """

    retriable: bool = False


class ContractError(AnomalyLLMError):
    """A message breaks a topic contract. `reason` is the short class that goes into the dead letter's header."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class ConfigError(AnomalyLLMError):
    """A setting, file or argument is unusable; the message says which and what to do."""


class UnavailableError(AnomalyLLMError):
    """Kafka, Redis or the artefact store does not answer."""

    retriable = True


class RefusedError(AnomalyLLMError):
    """A server answers and says no: a wrong password, or a right that is missing. The message says what to change."""


class UnsendableError(AnomalyLLMError):
    """Kafka will never take these records as they are (too large, a name it does not allow)."""


class UnstorableError(AnomalyLLMError):
    """Redis can never hold this: a value is too large."""


class FencedError(AnomalyLLMError):
    """Another worker with a larger owner epoch has taken over the partition; stop writing to it."""


class OffsetConflictError(AnomalyLLMError):
    """The stored offset is not the one this worker expected: re-read from the stored one (compare-and-set lost)."""

    retriable = True


class StateLostError(OffsetConflictError):
    """Redis knows less than it did: it was emptied, or restored from an older state."""
