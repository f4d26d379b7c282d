"""Contracts: the documented schemas are those of the code; models accept and refuse what the design asks for."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from streamer.contracts import TOPICS, StreamSettings
from streamer.errors import AnomalyLLMError, ContractError, FencedError, UnavailableError
from streamer.metric_records import MetricPoint
from streamer.parsing import parse
from streamer.schemas import MODELS, schema_files

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
    assert parse(StreamSettings, b"{}", "stream settings") == StreamSettings()
    assert parse(StreamSettings, b'{"interval_s": 0.1, "kind": "counter"}', "stream settings").interval_s == 0.1
    with pytest.raises(ContractError, match="intervall_s"):
        parse(StreamSettings, b'{"intervall_s": 1}', "stream settings")
    with pytest.raises(ContractError, match="interval_s"):
        parse(StreamSettings, b'{"interval_s": -1}', "stream settings")
    assert parse(StreamSettings, b'{"alerts_per_week": 2}', "stream settings").alerts_per_week == 2
    with pytest.raises(ContractError, match="drop alert_budget, or alerts_per_week"):
        parse(StreamSettings, b'{"alerts_per_week": 2, "alert_budget": 1}', "stream settings")
    with pytest.raises(ContractError, match="not JSON"):
        parse(StreamSettings, b"nope", "stream settings")


def test_errors_say_whether_trying_again_helps() -> None:
    assert issubclass(ContractError, AnomalyLLMError)
    assert (UnavailableError("x").retriable, FencedError("x").retriable) == (True, False)
