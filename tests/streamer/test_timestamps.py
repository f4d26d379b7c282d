"""Every accepted time-stamp form, and that the column form agrees with the single one."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streamer.errors import ContractError
from streamer.timestamps import UNITS, format_ns, numeric_timestamps, parse_timestamp

NS = 1_790_000_000_123_456_789


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (1_790_000_000, None, 1_790_000_000 * 10**9),
        (1_790_000_000.25, None, 1_790_000_000_250_000_000),
        (1_790_000_000_123, None, 1_790_000_000_123 * 10**6),
        (1_790_000_000_123_456, None, 1_790_000_000_123_456 * 10**3),
        (NS, None, NS),
        (5, "ms", 5_000_000),
        (0, None, 0),
        ("2026-09-21T14:13:20Z", None, 1_790_000_000 * 10**9),
        ("2026-09-21T16:13:20.123456789+02:00", None, NS),
        ("2026-09-21t14:13:20.5z", None, 1_790_000_000_500_000_000),
    ],
)
def test_forms(value: object, unit: str | None, expected: int) -> None:
    assert parse_timestamp(value, unit) == expected


@pytest.mark.parametrize(
    "value",
    [True, None, [], -1, float("nan"), float("inf"), 10**19, "yesterday", "2026-09-21T14:13:20", "2026-13-01T00:00:00Z",
     "1960-01-01T00:00:00Z"],
)  # fmt: skip
def test_what_is_no_time_is_refused(value: object) -> None:
    with pytest.raises(ContractError) as caught:
        parse_timestamp(value)
    assert caught.value.reason == "timestamp"


def _single(value: float, unit: str | None) -> int:
    try:
        return parse_timestamp(value, unit)
    except ContractError:
        return -1


units = st.sampled_from([None, *UNITS])


@given(st.lists(st.integers(-10, 2**63 - 1), min_size=1), units)
@example([2**62 - 767, 2**62, 2**62 + 1], None)  # beyond the integers that float64 has
def test_columns_of_integers_agree_with_single_values(values: list[int], unit: str | None) -> None:
    assert numeric_timestamps(np.array(values, np.int64), unit).tolist() == [_single(v, unit) for v in values]


@given(st.lists(st.floats(-10, 4e9), min_size=1), units)
def test_columns_of_floats_agree_with_single_values(values: list[float], unit: str | None) -> None:
    assert numeric_timestamps(np.array(values), unit).tolist() == [_single(v, unit) for v in values]


def test_format_is_rfc3339() -> None:
    assert format_ns(1_790_000_000 * 10**9) == "2026-09-21T14:13:20.000Z"
