"""What can be wrong with artefacts and the store they lie in."""

from streamer.errors import AnomalyLLMError
from streamer.masking import masked


class StoreError(AnomalyLLMError):
    """The artefact store does not answer or does not let us in; the same call may work later."""

    retriable = True


class ArtefactError(AnomalyLLMError):
    """An artefact is missing, damaged or of another layout: fit the stream again."""


class MissingArtefactError(ArtefactError):
    """An artefact is not in the store: it may be another one than the trainer's, or not have come there yet."""

    retriable = True

    def __init__(self, name: str, uri: str) -> None:
        super().__init__(
            masked(
                f"artefact {name} is not in the store {uri}: give detectors and trainers the same --store, one that all "
                "of them reach; if it was deleted, fit its streams again"
            )
        )
