"""Contracts: the documented schemas are those of the code; models accept and refuse what design says."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from streamer.contracts import MODELS, TOPICS, MetricPoint, StreamSettings
from streamer.errors import AnomalyLLMError, ContractError, FencedError, UnavailableError
from streamer.kafka.stream_settings import parse_settings
from streamer.schemas import schema_files

DOCS = Path(__file__).parents[2] / "docs" / "topics"


def test_docs_hold_the_schemas_of_the_code() -> None:
    assert set(MODELS) == set(TOPICS)
    for name, content in schema_files().items():
        assert (DOCS / name).read_bytes() == content, f"{name} is stale: run python -m streamer.schemas"
    assert {path.name for path in DOCS.glob("*.json")} == set(schema_files())


def test_a_point_has_exactly_one_of_value_and_values() -> None:
    assert MetricPoint.model_validate({"stream": "a", "value": None}).value is None
    for body in ({"stream": "a"}, {"stream": "a", "value": 1, "values": {"x": 1}}, {"stream": "", "value": 1}):
        with pytest.raises(ValidationError):
            MetricPoint.model_validate(body)


def test_stream_settings_name_the_field_that_is_wrong() -> None:
    assert parse_settings(b"{}") == StreamSettings()
    assert parse_settings(b'{"interval_s": 0.1, "kind": "counter"}').interval_s == 0.1
    with pytest.raises(ContractError, match="intervall_s"):
        parse_settings(b'{"intervall_s": 1}')
    with pytest.raises(ContractError, match="interval_s"):
        parse_settings(b'{"interval_s": -1}')
    assert parse_settings(b'{"alerts_per_week": 2}').alerts_per_week == 2
    with pytest.raises(ContractError, match="drop alert_budget, or alerts_per_week"):
        parse_settings(b'{"alerts_per_week": 2, "alert_budget": 1}')
    with pytest.raises(ContractError, match="not JSON"):
        parse_settings(b"nope")


def test_errors_say_whether_trying_again_helps() -> None:
    assert issubclass(ContractError, AnomalyLLMError)
    assert (UnavailableError("x").retriable, FencedError("x").retriable) == (True, False)
