"""The least rights of those who neither read nor write."""

from streamer.contracts import TOPICS
from streamer.kafka.rights import GROUPS, rights
from streamer.settings import CommonSettings


def test_who_scales_workers_may_look_at_topics_and_groups_and_no_more() -> None:
    made = rights(CommonSettings(topic_prefix="p."), "scaler", "User:keda")
    assert {acl.operation for acl in made} == {"Describe"}
    assert {acl.name for acl in made if acl.resource == "topic"} == {f"p.{topic}" for topic in TOPICS}
    assert {acl.name for acl in made if acl.resource == "group"} == {f"p.{group}" for group in GROUPS.values()}
