"""docs/reference/topics.md, out of the contracts: `python -m streamer.cli.topics_page > docs/reference/topics.md`."""

from typing import Any

from pydantic.json_schema import models_json_schema

from streamer.asyncapi import KEYS, SENT, TEXTS
from streamer.contracts import COMPACTED, PARTITIONED, TOPICS
from streamer.schemas import MODELS

HEAD = """# Topics

Generated (`python -m streamer.cli.topics_page`). The same as JSON Schema, a file a topic ([metrics](../topics/metrics.json), …), and as
an [AsyncAPI 3 document](../asyncapi.json). Names may have a prefix (`--topic-prefix prod.`). You write `metrics`, `streams`, `feedback`
and `training`; you read the others. What breaks a rule goes to `dead-letters` with its reason ([rules for points](../operations.md#rules-for-points)).

A point, in its shortest form: `{"stream": "web.cpu", "ts": 1790000000, "value": 0.5}`, keyed `web.cpu`.
"""


def page() -> str:
    """The whole page, in Markdown: a section for each topic, below it a table for each model."""
    wanted = [(model, "validation") for models in MODELS.values() for model in models]
    _, schemas = models_json_schema(wanted, ref_template="{model}")  # type: ignore[arg-type]
    schemas = schemas["$defs"]
    shown = {model.__name__ for models in MODELS.values() for model in models}
    parts = {name: schema for name, schema in sorted(schemas.items()) if name not in shown and "properties" in schema}
    sections = [_section(topic, schemas) for topic in TOPICS]
    return "\n".join([HEAD, *sections, "## Parts of the above", "", *(_table(name, s) for name, s in parts.items())])


def _section(topic: str, schemas: dict[str, Any]) -> str:
    key = KEYS[topic]
    facts = [
        "you write it" if topic in SENT else "between workers" if topic == "windows" else "you read it",
        f"key: {key}" if key else "key: none that is fixed",
        "`--partitions` of them" if topic in PARTITIONED else "one partition",
        *(["compacted"] if topic in COMPACTED else []),
    ]
    head = [f"## {topic}", "", TEXTS[topic], "", f"*{'; '.join(facts)}.* [JSON Schema](../topics/{topic}.json)", ""]
    return "\n".join([*head, *(_table(model.__name__, schemas[model.__name__]) for model in MODELS[topic])])


def _table(name: str, schema: dict[str, Any]) -> str:
    required = set(schema.get("required", ()))
    lines = [f"### {name}", "", "| field | type | |", "|---|---|---|"]
    for field, rule in schema["properties"].items():
        shown = f"**`{field}`**" if field in required else f"`{field}`"
        lines.append(f"| {shown} | {_type(rule)} | {_text_of(rule)} |")
    return "\n".join([*lines, ""])


def _type(rule: dict[str, Any]) -> str:
    """In words, as `list of number or null`."""
    if "$ref" in rule:
        return f"[{rule['$ref']}](#{str(rule['$ref']).lower()})"
    if "const" in rule:
        return f"`{rule['const']}`"
    if "enum" in rule:
        return " or ".join(f"`{value}`" for value in rule["enum"])
    if "anyOf" in rule:
        return " or ".join(dict.fromkeys(map(_type, rule["anyOf"])))
    if rule.get("type") == "array":
        return f"list of {_inner(rule.get('items', {}))}"
    if rule.get("type") == "object" and isinstance(rule.get("additionalProperties"), dict):
        return f"object of {_inner(rule['additionalProperties'])}"
    return str(rule.get("type", "anything"))


def _inner(rule: dict[str, Any]) -> str:
    inner = _type(rule)
    return f"({inner})" if " or " in inner else inner


def _text_of(rule: dict[str, Any]) -> str:
    default = rule.get("default")
    parts = [str(rule.get("description", "")).replace("|", "\\|").replace("<", "&lt;")]
    if default not in (None, "", [], {}):
        parts.append(f"default {default}")
    return "; ".join(filter(None, parts))


if __name__ == "__main__":
    print(page(), end="")
