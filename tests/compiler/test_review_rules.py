"""Each policy rule finds what it is for, lets pass what is right, and can be waived for a reason and for a time."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest

from compiler.blueprint import Environment, Stage
from compiler.deployment import CloudKind
from compiler.profile import Budget, Period
from compiler.review.rules import RULES, Finding, Thresholds, check_rules
from compiler.review.values import JSON
from compiler.review.waivers import apply_waivers, load_waivers
from state.errors import SourcesError
from tests.compiler.plans import a_change, a_plan, a_policy, a_role_policy
from tests.compiler.projects import Project
from tests.fakes.platform import a_platform

OPEN = {"cidr_blocks": ["0.0.0.0/0"], "from_port": 22, "to_port": 22, "protocol": "tcp"}
SERVICE = {"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}}
TAGS = {"mayfly:deployment": "demo", "mayfly:managed-by": "mayfly"}
BLOCK = dict.fromkeys(
    ("block_public_acls", "block_public_policy", "ignore_public_acls", "restrict_public_buckets"), True
)
DENIAL = '{"Statement": [{"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "*"}]}'
ROLE = "arn:aws:iam::111111111111:role/demo-instance-*"
AWS_POLICY = "arn:aws:iam::aws:policy"
EVERYBODY = {"grantee": [{"type": "Group", "uri": "http://acs.amazonaws.com/groups/global/AllUsers"}]}
HIDDEN = {"policy": True}
WILD = ("s3:Get*", "s3:*Object", "s3:?*", "iam:P*", "S3:GETOBJEC?", "*:ListBucket", "s3:List*Object")
PASSING = ("iam:P*", "iam:Pass?ole", "IAM:passROLE", "iam:*", "*", "i?m:PassRole")
ANY_SERVICE = (
    {"StringLike": {"iam:PassedToService": "*"}},
    {"StringNotEquals": {"iam:PassedToService": "ec2.amazonaws.com"}},
    {"StringEqualsIfExists": {"iam:PassedToService": "ec2.amazonaws.com"}},
    {"StringEquals": {"aws:RequestedRegion": "iam:PassedToService"}},
)
LOOSE = (
    {"Bool": {"aws:SecureTransport": "true"}},
    {"IpAddress": {"aws:SourceIp": "0.0.0.0/0"}},
    {"StringLike": {"aws:PrincipalOrgID": "o-*"}},
    {"StringNotEquals": {"aws:PrincipalAccount": "111111111111"}},
    {"StringEqualsIfExists": {"aws:SourceAccount": "111111111111"}},
    {"ForAllValues:StringEquals": {"aws:PrincipalOrgID": "o-1"}},
    {"ArnLike": {"aws:SourceArn": "arn:aws:s3:::*"}},
    {"ArnLike": {"aws:SourceArn": "arn:aws:sns:*:*:topic"}},
    {"StringEquals": {"aws:SourceAccount": []}},
)
NARROW = (
    {"ArnEquals": {"aws:SourceArn": "arn:aws:events:eu-central-1:111111111111:rule/demo"}},
    {"ArnLike": {"AWS:SourceArn": ["arn:aws:s3:::demo-pca", "arn:aws:sns:*:111111111111:*"]}},
    {"StringEquals": {"aws:PrincipalOrgID": "o-1"}, "Bool": {"aws:SecureTransport": "true"}},
    {"ForAnyValue:StringEquals": {"aws:SourceVpce": ["vpce-1"]}},
)


def open_to_all(name: str = "data", **more: object) -> JSON:
    """Return a bucket's policy that allows everybody to read it, but for what is said."""
    statement = {"Principal": "*", **more}
    policy = a_policy("s3:GetObject", "arn:x", **{key: value for key, value in statement.items() if value is not None})
    return a_change("aws_s3_bucket_policy", name, after={"policy": policy})


def found(*changes: JSON, **more: object) -> set[str]:
    return {finding.rule for finding in check_rules([a_plan(*changes, **more)], a_platform())}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rule", "change"),
    [
        ("MF001", a_role_policy(a_policy("*", "arn:x"))),
        ("MF001", a_role_policy(a_policy(["s3:GetObject", "s3:*"], "arn:x"))),
        ("MF001", a_role_policy('{"Statement": {"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}}')),
        *(("MF001", a_role_policy(a_policy(["s3:ListBucket", action], "arn:x"))) for action in WILD),
        ("MF001", a_change("aws_iam_role", after={"inline_policy": [{"name": "p", "policy": a_policy("s3:*", "*")}]})),
        (
            "MF001",
            a_change("aws_iam_role_policy_attachment", after={"policy_arn": f"{AWS_POLICY}/AdministratorAccess"}),
        ),
        ("MF001", a_change("aws_iam_role", after={"managed_policy_arns": [f"{AWS_POLICY}/AmazonS3FullAccess"]})),
        ("MF002", a_change("aws_s3_bucket_policy", after={"policy": a_policy("s3:GetObject", "arn:x", Principal="*")})),
        *(("MF002", open_to_all(Condition=condition)) for condition in LOOSE),
        ("MF002", open_to_all(Principal={"AWS": ["arn:aws:iam::1:root", "*"]})),
        ("MF002", open_to_all(Principal=None, NotPrincipal={"AWS": "arn:aws:iam::1:root"})),
        ("MF002", a_change("aws_s3_bucket_acl", after={"access_control_policy": [{"grant": [EVERYBODY]}]})),
        ("MF002", a_change("aws_s3_bucket_acl", after={"acl": "public-read"})),
        ("MF002", a_change("aws_s3_bucket", after={"bucket": "b"})),
        ("MF002", a_change("aws_db_instance", after={"publicly_accessible": True})),
        ("MF003", a_change("aws_s3_bucket", after={"bucket": "b"})),
        ("MF003", a_change("aws_sqs_queue", after={"name": "q", "sqs_managed_sse_enabled": False})),
        ("MF003", a_change("aws_ebs_volume", after={"encrypted": False})),
        ("MF003", a_change("aws_instance", after={"ami": "ami-1", "root_block_device": [{"encrypted": False}]})),
        ("MF004", a_change("aws_s3_bucket", action="delete", before={"bucket": "b"})),
        ("MF004", a_change("aws_s3_bucket", action="no-op", before={}, after={"bucket": "b", "force_destroy": True})),
        ("MF005", a_change("aws_iam_role", after={"name": "r", "tags": {"a": "b"}})),
        ("MF006", a_role_policy(a_policy(["iam:PassRole"], "*", Condition=SERVICE))),
        ("MF006", a_role_policy(a_policy(["iam:PassRole"], "arn:aws:iam::1:role/*", Condition=SERVICE))),
        ("MF006", a_role_policy(a_policy(["iam:PassRole"], "arn:aws:iam::1:ro*", Condition=SERVICE))),
        ("MF006", a_role_policy(a_policy(["iam:PassRole"], "arn:aws:iam::1:role/?*", Condition=SERVICE))),
        ("MF006", a_role_policy(a_policy(["iam:PassRole"], ROLE))),
        *(("MF006", a_role_policy(a_policy([action], "*", Condition=SERVICE))) for action in PASSING),
        *(("MF006", a_role_policy(a_policy(["iam:PassRole"], ROLE, Condition=condition))) for condition in ANY_SERVICE),
        ("MF006", a_role_policy('{"Statement": {"Effect": "Allow", "NotAction": "s3:*", "Resource": "*"}}')),
        ("MF007", a_change("aws_security_group", after={"ingress": [OPEN]})),
        ("MF007", a_change("aws_security_group_rule", after={"type": "ingress", **OPEN})),
        ("MF007", a_change("aws_vpc_security_group_ingress_rule", after={"cidr_ipv6": "::/0", "ip_protocol": "-1"})),
        ("MF008", a_change("aws_instance", after={}, unknown={"ami": True})),
        ("MF010", a_change("aws_sqs_queue", after={"name": "q"}, unknown={"policy": True})),
        (
            "MF010",
            a_change("aws_iam_role", after={"inline_policy": [{"name": "p"}]}, unknown={"inline_policy": [HIDDEN]}),
        ),
    ],
)
def test_it_finds(rule: str, change: JSON) -> None:
    assert rule in found(change)


def test_what_is_right_passes() -> None:
    changes = [
        a_role_policy(a_policy(["iam:PassRole"], ROLE, Condition=SERVICE)),
        a_role_policy(a_policy(["iam:PassRole"], "arn:aws:iam::111111111111:role/x", Condition=SERVICE), name="p"),
        a_role_policy(a_policy(["ec2:Describe*", "s3:List*"], "*"), name="d"),
        *(open_to_all(f"b{number}", Condition=condition) for number, condition in enumerate(NARROW)),
        a_change("aws_iam_role_policy_attachment", after={"policy_arn": "arn:aws:iam::111111111111:policy/demo-1"}),
        a_role_policy(DENIAL, name="n"),
        a_change("aws_s3_bucket", after={"bucket": "b", "tags": TAGS}),
        a_change("aws_s3_bucket_public_access_block", after={"bucket": "b", **BLOCK}),
        a_change("aws_s3_bucket_server_side_encryption_configuration", after={"bucket": "b"}),
        a_change("aws_sqs_queue", after={"name": "q", "sqs_managed_sse_enabled": True, "tags_all": TAGS}),
        a_change("aws_security_group", after={"ingress": [], "egress": [OPEN], "tags": TAGS}),
        a_change("aws_instance", after={"ami": "ami-1", "root_block_device": [{"encrypted": True}], "tags": TAGS}),
    ]
    assert found(*changes) == set()


def test_settings_are_matched_by_the_code_while_names_are_not_known() -> None:
    changes = [
        a_change("aws_s3_bucket", after={"bucket": "b", "tags": TAGS}),
        a_change("aws_s3_bucket_public_access_block", after=BLOCK, unknown={"bucket": True}),
        a_change("aws_s3_bucket_server_side_encryption_configuration", after={}, unknown={"bucket": True}),
    ]
    refers = {"bucket": {"references": ["aws_s3_bucket.data.id", "aws_s3_bucket.data"]}}
    settings = [
        {"address": f"{one['type']}.data", "expressions": refers} for one in changes if one["type"] != "aws_s3_bucket"
    ]
    code = {"root_module": {"module_calls": {"m": {"module": {"resources": settings}}}}}
    assert found(*changes, configuration=code) == set()
    assert found(*changes) == {"MF002", "MF003"}


def test_what_the_provider_fills_in_is_no_policy_of_the_code() -> None:
    queue = a_change(
        "aws_sqs_queue", after={"name": "q", "kms_master_key_id": "k", "tags": TAGS}, unknown={"policy": True}
    )
    code = {"module": {"resources": [{"address": "aws_sqs_queue.data", "expressions": {"name": {}}}]}}
    assert found(queue, configuration={"root_module": {"module_calls": {"m": code}}}) == set()
    assert found(queue) == {"MF010"}


def test_images_must_be_pinned_on_aws_unless_it_is_a_draft() -> None:
    aws = a_platform(cloud=CloudKind.AWS)
    assert check_rules([], aws) == ()
    bare = replace(aws.blueprints["pca"], environment=Environment())
    (finding,) = check_rules([], replace(aws, blueprints={"pca": bare}))
    assert (finding.rule, finding.resource) == ("MF008", "pca")
    assert check_rules([], replace(aws, blueprints={"pca": replace(bare, stage=Stage.DRAFT)})) == ()
    assert check_rules([], replace(a_platform(), blueprints={"pca": bare})) == ()


@pytest.mark.parametrize(
    ("amount", "period", "broken"),
    [
        (100, Period.MONTHLY, False),
        (101, Period.MONTHLY, True),
        (1200, Period.YEARLY, False),
        (101, Period.TOTAL, True),
    ],
)
def test_budgets_are_compared_by_the_month(amount: int, period: Period, *, broken: bool) -> None:
    platform = a_platform()
    group = replace(platform.groups["lab1"], budget=Budget(amount=Decimal(amount), period=period))
    rich = replace(platform, groups={"lab1": group})
    assert bool(check_rules([], rich, Thresholds(budget=Decimal(100)))) == broken


def test_ids_are_unique_and_each_rule_has_its_words() -> None:
    assert len({rule.id for rule in RULES}) == len(RULES)
    assert all(rule.title and rule.why and rule.way_out and (rule.plan or rule.platform) for rule in RULES)
    assert RULES[0].page == "docs/reference/policies.md#mf001"


WAIVER = """\
waivers:
  - rule: MF004
    root: analyses/*
    resource: module.m.aws_s3_bucket.data
    reason: The lab has a copy, Dr. Example agreed.
    expires: 2026-11-22
"""


def deletion() -> tuple[Finding, ...]:
    return check_rules([a_plan(a_change("aws_s3_bucket", action="delete", before={"bucket": "b"}))], a_platform())


def test_a_waiver_covers_until_its_last_day(project: Project) -> None:
    project.write("policies/waivers.yaml", WAIVER)
    waivers = load_waivers(project.folder)
    covered, expired = apply_waivers(deletion(), waivers, date(2026, 11, 22))
    assert [one.waiver for one in covered] == ["The lab has a copy, Dr. Example agreed."]
    assert expired == ()
    open_again, expired = apply_waivers(deletion(), waivers, date(2026, 11, 23))
    assert [one.waiver for one in open_again] == [""]
    assert str(expired[0]).startswith("policies/waivers.yaml:2:")
    assert "expired on 2026-11-22" in str(expired[0])


def test_a_waiver_is_only_for_what_it_names(project: Project) -> None:
    project.write("policies/waivers.yaml", WAIVER.replace("analyses/*", "groups/*"))
    covered, _ = apply_waivers(deletion(), load_waivers(project.folder), date(2026, 11, 1))
    assert [one.waiver for one in covered] == [""]


def test_without_a_file_there_are_none(project: Project) -> None:
    assert load_waivers(project.folder).waivers == ()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("MF004", "MF999", "there is no rule MF999. There are: MF001"),
        ("2026-11-22", "2026-02-30", "2026-02-30 is no day of the calendar"),
        ("reason", "raison", "did you mean"),
        ("    expires: 2026-11-22\n", "", "expires"),
        ("The lab has a copy, Dr. Example agreed.", "ok", "reason"),
    ],
)
def test_a_wrong_waiver_is_told_with_its_place(project: Project, old: str, new: str, message: str) -> None:
    project.write("policies/waivers.yaml", WAIVER.replace(old, new))
    with pytest.raises(SourcesError) as caught:
        load_waivers(project.folder)
    assert message.casefold() in str(caught.value).casefold()
    assert "policies/waivers.yaml:" in str(caught.value)


def test_the_threshold_is_read(project: Project) -> None:
    project.write("policies/waivers.yaml", "thresholds: {budget: 12.5}\nwaivers: []\n")
    assert load_waivers(project.folder).thresholds.budget == Decimal("12.5")
