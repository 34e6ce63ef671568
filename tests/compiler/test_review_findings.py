"""What a reviewer must see: data loss, access that widens, secrets that stay hidden, drift that is real."""

from __future__ import annotations

import pytest

from compiler.review.access import describe_access
from compiler.review.compare import compare_plans
from compiler.review.grants import Grant, compare_grants
from compiler.review.loss import find_losses
from compiler.review.redact import HIDDEN, redact, redact_text
from compiler.review.report import Verdict, review
from compiler.review.sections import lay_out
from compiler.review.values import Action, read_plan, without_key
from tests.compiler.plans import a_change, a_plan, a_policy, a_role_policy
from tests.fakes.platform import a_platform

BUCKET = {"bucket": "demo-pca", "force_destroy": False}
RESULTS = "arn:aws:s3:::demo-pca/lab1/results/*"


class TestDataLoss:
    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (a_change("aws_s3_bucket", action="delete", before=BUCKET), "bucket demo-pca is deleted"),
            (
                a_change(
                    "aws_s3_bucket", action="replace", before=BUCKET, after={"bucket": "other"}, forces=["bucket"]
                ),
                "made anew, empty (forced by bucket)",
            ),
            (
                a_change("aws_s3_bucket", action="update", before=BUCKET, after={**BUCKET, "force_destroy": True}),
                "may from now on be deleted with all objects",
            ),
            (
                a_change(
                    "aws_s3_bucket_versioning",
                    action="update",
                    before={"bucket": "demo-pca", "versioning_configuration": [{"status": "Enabled"}]},
                    after={"bucket": "demo-pca", "versioning_configuration": [{"status": "Suspended"}]},
                ),
                "loses versioning",
            ),
            (
                a_change(
                    "aws_s3_bucket_versioning",
                    action="delete",
                    before={"bucket": "demo-pca", "versioning_configuration": [{"status": "Enabled"}]},
                ),
                "loses versioning",
            ),
            (
                a_change(
                    "aws_sqs_queue",
                    action="update",
                    before={"name": "q", "message_retention_seconds": 1209600},
                    after={"name": "q", "message_retention_seconds": 60},
                ),
                "keeps for 60 s what it kept for 1209600 s",
            ),
        ],
    )
    def test_it_is_found(self, change: dict[str, object], words: str) -> None:
        (loss,) = find_losses(a_plan(change).effective)
        assert words in loss.text

    def test_objects_that_expire_sooner_are_found(self) -> None:
        def rule(days: int) -> dict[str, object]:
            return {"bucket": "b", "rule": [{"id": "old", "status": "Enabled", "expiration": [{"days": days}]}]}

        kind = "aws_s3_bucket_lifecycle_configuration"
        sooner = a_plan(a_change(kind, action="update", before=rule(90), after=rule(30)))
        later = a_plan(a_change(kind, action="update", before=rule(30), after=rule(90)))
        new = a_plan(a_change(kind, after=rule(30)))
        assert "after 30 days (rule old); it kept them for 90" in find_losses(sooner.effective)[0].text
        assert find_losses(later.effective) == ()
        assert "kept them for ever" in find_losses(new.effective)[0].text

    def test_a_new_bucket_has_nothing_to_lose(self) -> None:
        rules = {"bucket": "b", "rule": [{"id": "old", "status": "Enabled", "expiration": [{"days": 3}]}]}
        plan = a_plan(
            a_change("aws_s3_bucket", after=BUCKET), a_change("aws_s3_bucket_lifecycle_configuration", after=rules)
        )
        assert find_losses(plan.effective) == ()

    def test_what_terraform_lets_go_of_is_not_lost(self) -> None:
        versioning = {"bucket": "demo-pca", "versioning_configuration": [{"status": "Enabled"}]}
        plan = a_plan(
            a_change("aws_s3_bucket", action="forget", before=BUCKET),
            a_change("aws_s3_bucket_versioning", action="forget", before=versioning),
        )
        assert {one.action for one in plan.changes} == {Action.FORGET}
        assert find_losses(plan.effective) == ()
        assert review([plan], a_platform()).verdict is Verdict.CHANGES

    def test_the_verdict_says_so_first(self) -> None:
        plan = a_plan(a_change("aws_s3_bucket", action="delete", before=BUCKET), a_role_policy(a_policy(["s3:*"], "*")))
        assert review([plan], a_platform()).verdict is Verdict.DATA_LOSS


class TestAccess:
    def test_a_new_action_widens(self) -> None:
        before, after = a_policy(["s3:GetObject"], RESULTS), a_policy(["s3:GetObject", "s3:DeleteObject"], RESULTS)
        (difference,) = compare_grants(a_plan(a_role_policy(after, before=before), root="groups/lab1").changes)
        assert difference.added == (Grant("demo-group-lab1", "s3:DeleteObject", RESULTS),)
        assert difference.removed == ()

    def test_the_same_rights_in_other_words_are_no_change(self) -> None:
        before = a_policy(["s3:GetObject", "s3:PutObject"], [RESULTS])
        after = a_policy(["s3:PutObject", "s3:GetObject"], RESULTS)
        assert compare_grants(a_plan(a_role_policy(after, before=before)).changes) == ()

    def test_a_right_that_moves_to_another_policy_of_the_role_is_no_change(self) -> None:
        text = a_policy(["s3:GetObject"], RESULTS)
        plan = a_plan(a_role_policy(None, before=text, name="one"), a_role_policy(text, name="two"))
        assert compare_grants(plan.changes) == ()

    def test_a_wildcard_that_was_there_covers_what_it_matches(self) -> None:
        before = a_policy(["s3:Get*"], "arn:aws:s3:::demo-pca/*")
        after = a_policy(["s3:GetObject"], RESULTS)
        (difference,) = compare_grants(a_plan(a_role_policy(after, before=before)).changes)
        assert difference.added == ()
        assert difference.removed

    def test_a_condition_that_is_dropped_widens(self) -> None:
        condition = {"StringLike": {"s3:prefix": "lab1/*"}}
        before = a_policy(["s3:ListBucket"], "arn:aws:s3:::demo-pca", Condition=condition)
        after = a_policy(["s3:ListBucket"], "arn:aws:s3:::demo-pca")
        (difference,) = compare_grants(a_plan(a_role_policy(after, before=before)).changes)
        assert [grant.condition for grant in difference.added] == [""]

    def test_a_policy_known_only_later_is_told(self) -> None:
        plan = a_plan(a_change("aws_iam_role_policy", after={"role": "r"}, unknown={"policy": True}))
        assert compare_grants(plan.changes)[0].unknown

    def test_what_is_there_already_stands_beside_what_comes(self) -> None:
        before = a_policy(["s3:GetObject", "s3:PutObject"], RESULTS)
        after = a_policy(["s3:GetObject", "s3:DeleteObject"], RESULTS)
        made = review([a_plan(a_role_policy(after, before=before), root="groups/lab1")], a_platform())
        (section,) = (one for one in lay_out(made) if one.title.startswith("Access"))
        assert section.rows == (
            ("demo-group-lab1", RESULTS, "s3:GetObject, -s3:PutObject", "+s3:DeleteObject, s3:GetObject", "WIDER"),
        )

    def test_rights_of_two_policies_in_one_place_are_one_row(self) -> None:
        plan = a_plan(
            a_role_policy(a_policy(["s3:GetObject"], RESULTS), name="one"),
            a_role_policy(a_policy(["s3:PutObject"], RESULTS), name="two"),
        )
        (section,) = (one for one in lay_out(review([plan], a_platform())) if one.title.startswith("Access"))
        assert [row[2:] for row in section.rows] == [("nothing", "+s3:GetObject, +s3:PutObject", "WIDER")]

    def test_policies_within_a_role_count(self) -> None:
        roles = [{"name": "r", "inline_policy": [{"policy": a_policy([action], RESULTS)}]} for action in ("a:b", "c:d")]
        (difference,) = compare_grants(
            a_plan(a_change("aws_iam_role", action="update", before=roles[0], after=roles[1])).changes
        )
        assert [grant.action for grant in (*difference.removed, *difference.added)] == ["a:b", "c:d"]

    def test_what_terraform_lets_go_of_keeps_its_rights(self) -> None:
        policy = {"bucket": "demo-pca", "policy": a_policy(["s3:GetObject"], RESULTS, Principal={"AWS": "runner"})}
        assert compare_grants(a_plan(a_change("aws_s3_bucket_policy", action="forget", before=policy)).changes) == ()

    def test_it_is_said_in_words(self) -> None:
        plan = a_plan(
            a_role_policy(a_policy(["s3:GetObject"], [RESULTS, "arn:aws:s3:::demo-pca/lab2/results/*"])),
            a_role_policy(a_policy(["s3:PutObject"], "arn:aws:s3:::demo-pca/*"), name="i", role="demo-instance-lab1"),
            root="groups/lab1",
        )
        said = describe_access(compare_grants(plan.changes), a_platform())
        assert set(said["lab1"]) == {
            "People of group lab1 may now read results of pca.",
            "People of group lab1 may now read results of pca OF GROUP lab2.",
            "Instances of group lab1 may now write ALL OBJECTS of pca.",
        }

    def test_widening_is_the_verdict_and_narrowing_is_not(self) -> None:
        text = a_policy(["s3:GetObject"], RESULTS)
        assert review([a_plan(a_role_policy(text))], a_platform()).verdict is Verdict.WIDER
        assert review([a_plan(a_role_policy(None, before=text))], a_platform()).verdict is Verdict.CHANGES


class TestSecrets:
    def test_what_terraform_marks_is_hidden(self) -> None:
        value = {"a": "open", "b": {"c": ["x", "y"]}}
        assert redact(value, {"b": {"c": [False, True]}}) == {"a": "open", "b": {"c": ["x", HIDDEN]}}
        assert redact(value, sensitive=True) == HIDDEN

    @pytest.mark.parametrize("name", ["password", "db_password", "secret", "auth_token", "user_data", "private_key"])
    def test_what_is_called_like_one_is_hidden(self, name: str) -> None:
        assert redact({name: "hunter2"}) == {name: HIDDEN}

    @pytest.mark.parametrize(
        "text",
        ["AKIAABCDEFGHIJKLMNOP", "-----BEGIN RSA PRIVATE KEY-----", "https://me:pass@host/", "ghp_" + "a" * 36],
    )
    def test_what_looks_like_one_is_hidden(self, text: str) -> None:
        assert HIDDEN in redact_text(f"see {text} here")
        assert text not in str(redact({"description": [f"see {text} here"]}))


class TestPlans:
    def test_the_rest_of_the_json_is_read(self) -> None:
        plan = a_plan(
            a_change("aws_iam_role", action="replace", before={"name": "a"}, after={"name": "b"}, forces=["name"]),
            a_change("aws_s3_bucket", "x", "no-op", before=BUCKET, after=BUCKET, previous="module.old.aws_s3_bucket.x"),
        )
        replaced, moved = plan.effective
        assert replaced.forces == ("name",)
        assert moved.action is Action.MOVE
        assert review([plan], a_platform()).replaced == (replaced,)

    def test_drift_is_what_an_apply_would_put_back(self) -> None:
        was, now = {"tags": {"a": "1"}, "policy": ""}, {"tags": {"a": "2"}, "policy": "{}"}
        drift = a_change("aws_s3_bucket", action="update", before=was, after=now)
        mirrored = a_plan(a_change("aws_s3_bucket", action="no-op", before=now, after=now), drift=(drift,))
        real = a_plan(
            a_change("aws_s3_bucket", action="update", before=now, after={**now, "tags": {"a": "1"}}), drift=(drift,)
        )
        assert mirrored.drift == ()
        assert [one.changed() for one in real.drift] == [("tags",)]

    @pytest.mark.parametrize(
        ("address", "short"),
        [("a.b", "a.b"), ("a.b[0]", "a.b"), ('m["x.]"].a.b["y[\\"]"]', "m.a.b"), ("module.m[1].a.b", "module.m.a.b")],
    )
    def test_keys_are_taken_off_addresses(self, address: str, short: str) -> None:
        assert without_key(address) == short

    def test_two_plans_from_nothing_are_compared(self) -> None:
        def planned(**buckets: str) -> dict[str, object]:
            rows = [a_change("aws_s3_bucket", name, after={"bucket": value}) for name, value in buckets.items()]
            return {"resource_changes": rows}

        changes = read_plan("r", compare_plans(planned(a="a", b="b", d="d"), planned(a="a", b="other", c="c"))).changes
        assert {c.address[-1]: c.action for c in changes} == {
            "a": Action.NOTHING,
            "b": Action.REPLACE,
            "c": Action.CREATE,
            "d": Action.DELETE,
        }
        assert read_plan("r", compare_plans(None, planned(a="a"))).changes[0].action is Action.CREATE
        kept, gone = (
            read_plan("r", compare_plans(planned(a="a"), None, keep=keep)).changes[0] for keep in (True, False)
        )
        assert (kept.action, gone.action) == (Action.FORGET, Action.DELETE)


class TestWhatNobodyKnows:
    """An attribute that is not known before the apply, in the plan of the code before and in that of the code after."""

    def planned(self, *, refers: str = "local.a", **unknown: bool) -> dict[str, object]:
        code = {"address": "aws_sqs_queue.q", "expressions": {name: {"references": [refers]} for name in unknown}}
        marks = {**unknown, "url": True}
        return {
            "resource_changes": [a_change("aws_sqs_queue", "q", after={"name": "q"}, unknown=marks)],
            "configuration": {"root_module": {"module_calls": {"m": {"module": {"resources": [code]}}}}},
        }

    def test_a_policy_counts_as_changed_as_soon_as_anything_is(self) -> None:
        same = read_plan("r", compare_plans(self.planned(policy=True), self.planned(policy=True), same=True))
        assert [change.action for change in same.changes] == [Action.NOTHING]
        assert compare_grants(same.changes) == ()
        other = read_plan("r", compare_plans(self.planned(policy=True), self.planned(policy=True)))
        assert [(change.action, change.changed()) for change in other.changes] == [(Action.UPDATE, ("policy",))]
        (difference,) = compare_grants(other.changes)
        assert difference.unknown
        made = review([other], a_platform())
        assert made.verdict is Verdict.WIDER
        (section,) = (one for one in lay_out(made) if one.title.startswith("Access"))
        assert section.rows[0][1:] == ("known only after the apply", "", "", "LOOK")

    def test_the_rest_counts_as_changed_when_the_code_refers_to_something_else(self) -> None:
        before = self.planned(kms_key=True)
        alike, other = self.planned(kms_key=True), self.planned(kms_key=True, refers="local.b")
        assert not read_plan("r", compare_plans(before, alike)).effective
        (change,) = read_plan("r", compare_plans(before, other)).effective
        assert change.changed() == ("kms_key",)

    def test_what_is_partly_known_is_known_where_nothing_in_it_waits(self) -> None:
        row = a_change("aws_x", after={"a": [{}], "b": [{}]}, unknown={"a": [{"c": True}], "b": [{"c": False}, {}]})
        assert a_plan(row).changes[0].unknown == {"a"}
