"""Settings shared by every command; each is a flag, an environment variable ANOMALYLLM_<NAME> and a key of --config."""

import os
import socket
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict

from streamer.placement import SHARDS, Partitioner
from streamer.security import SecuritySettings

MIN_TOKEN = 16


class CommonSettings(SecuritySettings):
    """Where the servers are and how topics and keys are named."""

    model_config = SettingsConfigDict(env_prefix="ANOMALYLLM_", extra="ignore")

    bootstrap: str = Field("127.0.0.1:9092", description="Kafka bootstrap servers")
    redis_url: str = Field("redis://127.0.0.1:6379/0", description="Redis or Valkey URL")
    topic_prefix: str = Field("", description="prefix of all topic names, e.g. 'prod.'")
    namespace: str = Field("al", description="prefix of all Redis keys")
    partitions: int = Field(4, description="partitions of metrics, windows, anomalies and training; divides 256")
    replication: int = Field(1, ge=1, description="replication factor of provisioned topics")
    partitioner: Partitioner = Field("murmur2", description="hash of the publishers' record keys (librdkafka: crc32)")
    state_dir: Path = Field(Path(".state"), description="folder for everything written to disk")
    store: str = Field("", description="artefact store: folder or fsspec URI; default: models in the state-dir")
    assignment: str = Field(
        "group",
        description="'group': Kafka assigns partitions; 'all' or '0,2': fixed (embedded, single process)",
    )
    metrics_port: int | None = Field(
        None,
        ge=0,
        le=65_535,
        description="port of /metrics, /livez and /readyz of a worker; 0: none; not set: none, and `up` chooses",
    )
    metrics_host: str = Field("127.0.0.1", description="address that port listens on; 0.0.0.0 in a container")
    traces: bool = Field(False, description="send OpenTelemetry traces of batches (OTEL_* variables say where)")
    log_format: Literal["auto", "json", "pretty"] = Field("auto", description="auto: pretty in a terminal, else JSON")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="the least that is logged")
    config: Path | None = Field(None, description="TOML file of settings, e.g. log_level = 'debug'")
    worker_name: str = Field(
        default_factory=lambda: f"{socket.gethostname()}-{os.getpid()}", description="name in logs and stats"
    )

    @field_validator("partitions")
    @classmethod
    def _divides(cls, value: int) -> int:
        if value < 1 or SHARDS % value:
            raise ValueError(f"partitions must divide {SHARDS}: 1, 2, 4, 8, … 256")
        return value

    def topic(self, name: str) -> str:
        """Full name of a topic of the contract."""
        return self.topic_prefix + name

    def store_uri(self) -> str:
        """Where artefacts live."""
        return self.store or str(self.state_dir / "models")

    def fixed_partitions(self) -> list[int] | None:
        """The partitions of a fixed assignment, None with group assignment."""
        if self.assignment == "group":
            return None
        if self.assignment == "all":
            return list(range(self.partitions))
        return [int(p) for p in self.assignment.split(",")]


class CommandSettings(CommonSettings):
    """Settings of a command that a person types: it does not wait for ever, as workers do."""

    timeout: float = Field(10.0, gt=0, description="seconds until a command gives up on servers that do not answer")


class StreamerSettings(CommonSettings):
    """Settings of the streamer worker."""

    capacity: int = Field(8192, ge=64, le=1 << 20, description="slots of window and training history per stream")
    lateness_slots: int = Field(64, ge=1, description="within so many slots any order of arrival gives the same window")
    default_ttl_s: float = Field(
        30 * 86_400.0,
        ge=0,
        description="streams without a ttl_s are forgotten after this long without a point; 0: never",
    )
    max_ahead_s: float = Field(300.0, gt=0, description="points further ahead of their record's time are dead-lettered")
    marks: bool = Field(
        True,
        description="tell detectors up to when all has been received, so that they know who is silent; off where data are old",
    )
    source: str = Field(
        "",
        description="topics of other tools to read too: TOPIC=FORMAT,TOPIC=FORMAT; formats: telegraf, influx, otlp-json, "
        "otlp-proto, remote-write, prometheus-adapter, graphite",
    )
    source_name: str = Field(
        "",
        description="how streams of such a topic are named: TOPIC=TEMPLATE; parts: {name}, {labels}, {labels.KEY}, "
        "{labels only KEY,KEY}, {labels without KEY,KEY}; default {name}{labels}",
    )


class ConsoleSettings(CommonSettings):
    """Settings of the console, the pages that a browser shows."""

    console_host: str = Field("127.0.0.1", description="address the console listens on")
    console_port: int = Field(8790, ge=0, le=65_535, description="its port; 0: any that is free")
    console_token: str = Field(
        "",
        description="what a person types in to change things (16 characters or more); without one the console only shows",
    )
    console_names: str = Field(
        "", description="host names that browsers may reach it by besides localhost and addresses: NAME,NAME"
    )

    @field_validator("console_token")
    @classmethod
    def _long_enough(cls, value: str) -> str:
        if value and len(value) < MIN_TOKEN:
            raise ValueError(
                f"a token has {MIN_TOKEN} characters or more: python -c 'import secrets; print(secrets.token_urlsafe())'"
            )
        return value
