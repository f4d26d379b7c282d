"""The least rights of each worker, and of who else reads and writes its topics.

Every right is one that a worker uses; the suite on real Kafka runs all workers with exactly these.
"""

import shlex
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from streamer.contracts import TOPICS
from streamer.errors import ConfigError
from streamer.settings import CommonSettings

Operation = Literal["Read", "Write", "Describe", "Create"]
GROUPS = {"streamer": "streamer", "detector": "detector", "trainer": "trainer", "sink": "sink."}
SOURCES_GROUP = "sources"


class Role(NamedTuple):
    """Topics by what is done to them. Reading or writing a topic includes describing it."""

    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    # At its start a worker looks whether all topics are there.
    describes: tuple[str, ...] = TOPICS
    creates: tuple[str, ...] = ()


ROLES = {
    # metrics: records with a wrong key go to their home partition; streams: those past their time to live are deleted;
    # anomalies: whoever notices that Redis has lost data says so
    "streamer": Role(("metrics", "streams"), ("windows", "metrics", "streams", "anomalies", "dead-letters")),
    "detector": Role(("windows", "models", "streams", "feedback"), ("anomalies", "training", "models", "dead-letters")),
    "trainer": Role(("training", "models", "streams"), ("models", "dead-letters")),
    "sink": Role(("anomalies", "feedback"), ("anomalies", "dead-letters")),
    "console": Role(TOPICS, ("feedback", "streams", "models")),
    "publisher": Role((), ("metrics",), ()),
    "subscriber": Role(("anomalies",), (), ()),
    "scaler": Role(),  # who starts as many workers as their lag asks for: KEDA
    "operator": Role(TOPICS, TOPICS, creates=TOPICS),  # who provisions topics and types commands
}


class Acl(NamedTuple):
    """One access control entry of Kafka."""

    principal: str
    resource: Literal["topic", "group"]
    name: str
    pattern: Literal["literal", "prefixed"]
    operation: Operation


def rights(settings: CommonSettings, role: str, principal: str, sources: Sequence[str] = ()) -> list[Acl]:
    """What `principal` must be allowed. `sources`: foreign topics that the streamer reads. Raises ConfigError."""
    if role not in ROLES:
        raise ConfigError(f"there is no role {role!r}; roles are {', '.join(ROLES)}")
    chosen = ROLES[role]
    topics = {
        "Read": [settings.topic(topic) for topic in chosen.reads],
        "Write": [settings.topic(topic) for topic in chosen.writes],
        "Describe": [
            settings.topic(topic) for topic in chosen.describes if topic not in (*chosen.reads, *chosen.writes)
        ],
        "Create": [settings.topic(topic) for topic in chosen.creates],
    }
    groups: list[str] = [GROUPS[role]] if role in GROUPS else []
    if role == "streamer" and sources:
        topics["Read"] += sources
        groups.append(SOURCES_GROUP)
    operations: tuple[Operation, ...] = ("Read", "Write", "Describe", "Create")
    made = [Acl(principal, "topic", name, "literal", what) for what in operations for name in topics[what]]
    if role in (
        "operator",
        "console",
        "scaler",
    ):  # `status`, `doctor` and the console tell how far the groups have come
        for group in GROUPS.values():
            kind: Literal["literal", "prefixed"] = "prefixed" if group.endswith(".") else "literal"
            made.append(Acl(principal, "group", settings.topic_prefix + group, kind, "Describe"))
    for group in groups:
        # A sink's group has the sink's name after the dot.
        pattern: Literal["literal", "prefixed"] = "prefixed" if group.endswith(".") else "literal"
        made.append(Acl(principal, "group", settings.topic_prefix + group, pattern, "Read"))
    return made


def commands(acls: Iterable[Acl], bootstrap: str, command_config: str | None = None) -> list[str]:
    """The same as command lines of Kafka's own `kafka-acls`: one for all topics of an operation."""
    grouped: dict[tuple[str, str, str, str], list[str]] = {}
    for acl in acls:
        grouped.setdefault((acl.principal, acl.resource, acl.pattern, acl.operation), []).append(acl.name)
    lines = []
    for (principal, resource, pattern, operation), names in grouped.items():
        words = ["kafka-acls", "--bootstrap-server", bootstrap]
        words += ["--command-config", command_config] if command_config else []
        words += ["--add", "--allow-principal", principal, "--operation", operation]
        words += ["--resource-pattern-type", "prefixed"] if pattern == "prefixed" else []
        for name in names:
            words += [f"--{resource}", name]
        lines.append(shlex.join(words))
    return lines
