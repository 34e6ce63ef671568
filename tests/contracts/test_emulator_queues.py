"""SQS, as the platform relies on it, asked of the embedded cloud."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from botocore.exceptions import ClientError

from tests.mayfly.localcloud.rig import Clients, started, until

pytestmark = pytest.mark.cloud


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clients]:
    with started(tmp_path_factory.mktemp("cloud")) as (_, found):
        yield found


def make_queue(clients: Clients, name: str, **attributes: str) -> str:
    return str(clients.sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"])


def test_a_missing_queue_has_its_code(clients: Clients) -> None:
    with pytest.raises(ClientError) as error:
        clients.sqs.get_queue_url(QueueName="nothing")
    assert error.value.response["Error"]["Code"] in {
        "AWS.SimpleQueueService.NonExistentQueue",
        "QueueDoesNotExist",
    }


def test_a_message_comes_again_until_it_is_deleted(clients: Clients) -> None:
    url = make_queue(clients, "again", VisibilityTimeout="1")
    clients.sqs.send_message(QueueUrl=url, MessageBody="ä body")
    attributes = ["ApproximateReceiveCount"]

    def receive() -> list[dict[str, object]]:
        answer = clients.sqs.receive_message(QueueUrl=url, WaitTimeSeconds=3, MessageSystemAttributeNames=attributes)
        return list(answer.get("Messages", []))

    first, second = receive()[0], receive()[0]
    assert first["MessageId"] == second["MessageId"]
    assert second["Body"] == "ä body"
    assert second["Attributes"] == {"ApproximateReceiveCount": "2"}
    clients.sqs.delete_message(QueueUrl=url, ReceiptHandle=second["ReceiptHandle"])
    assert receive() == []


def test_visibility_can_be_given_back(clients: Clients) -> None:
    url = make_queue(clients, "back", VisibilityTimeout="600")
    clients.sqs.send_message(QueueUrl=url, MessageBody="x")
    receipt = clients.sqs.receive_message(QueueUrl=url)["Messages"][0]["ReceiptHandle"]
    assert "Messages" not in clients.sqs.receive_message(QueueUrl=url)
    clients.sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=receipt, VisibilityTimeout=0)
    assert clients.sqs.receive_message(QueueUrl=url)["Messages"]


def test_a_poisonous_message_ends_in_the_dead_letter_queue(clients: Clients) -> None:
    dead = make_queue(clients, "dead")
    arn = clients.sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    redrive = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 2})
    url = make_queue(clients, "alive", VisibilityTimeout="0", RedrivePolicy=redrive)
    clients.sqs.send_message(QueueUrl=url, MessageBody="poison")

    def is_dead() -> bool:
        clients.sqs.receive_message(QueueUrl=url)
        return "Messages" in clients.sqs.receive_message(QueueUrl=dead, VisibilityTimeout=0)

    until(is_dead)


def test_a_long_poll_waits_and_holds_nobody_up(clients: Clients) -> None:
    url = make_queue(clients, "long")
    with ThreadPoolExecutor(1) as pool:
        poll = pool.submit(clients.sqs.receive_message, QueueUrl=url, WaitTimeSeconds=20)
        for number in range(5):  # held up by the poll, the first of these would last as long as it
            make_queue(clients, f"beside-{number}")
            assert not poll.done()
        clients.sqs.send_message(QueueUrl=url, MessageBody="at last")
        assert [one["Body"] for one in poll.result()["Messages"]] == ["at last"]
    began = time.monotonic()
    assert "Messages" not in clients.sqs.receive_message(QueueUrl=url, WaitTimeSeconds=1)
    assert time.monotonic() - began > 0.9
