"""moto's server with IAM in force, and right where moto errs: `python -m tests.iam_server`.

Once it is told to (`/moto-api/reset-auth`), moto asks for each request whether a policy of who
makes it allows this action on this resource. In three things it differs from AWS, and would refuse
or allow what AWS does not:

- The right to delete a message is the right to delete ten: no action is named `DeleteMessageBatch`.
- `GetQueueUrl` is asked of the queue that it names, not of `*`.
- A HEAD of a version is `GetObjectVersion`, as a GET of one is.

What it knows nothing of are the conditions of a policy, and the policies of queues. Each decision
is a line of its output: `{"role", "action", "resource", "allowed"}`.
"""

import json
import os
import sys
from typing import Any

from moto import backends
from moto.iam.access_control import IAMRequestBase
from moto.s3.responses import ACTION_MAP
from moto.server import main
from moto.sqs.responses import SQSResponse


def tell_decisions() -> None:
    check: Any = IAMRequestBase.check_action_permitted

    def checked(self: Any, resource: str) -> None:
        decision = {
            "role": self._access_key.arn.split("/")[1],
            "action": self._action,
            "resource": resource,
            "allowed": True,
        }
        try:
            check(self, resource)
        except Exception:
            decision["allowed"] = False
            raise
        finally:
            os.write(1, json.dumps(decision).encode() + b"\n")  # in one piece

    IAMRequestBase.check_action_permitted = checked


def batches_are_single_actions() -> None:
    init: Any = IAMRequestBase.__init__

    def made(self: Any, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        if self._service == "sqs":
            self._action = self._action.removesuffix("Batch")

    IAMRequestBase.__init__ = made  # type: ignore[method-assign]


def queues_are_named() -> None:
    name_in_url: Any = SQSResponse._get_queue_name

    def named(self: Any) -> str:
        return str(name_in_url(self) or self._get_param("QueueName"))

    SQSResponse._get_queue_name = named  # type: ignore[method-assign]


def heads_of_versions() -> None:
    ACTION_MAP["KEY"]["HEAD"] = {"versionId": "GetObjectVersion", "DEFAULT": "GetObject"}


if __name__ == "__main__":
    services = list(backends.list_of_moto_modules())
    backends.list_of_moto_modules = lambda: services  # as infra.local.s3_server
    batches_are_single_actions()
    queues_are_named()
    heads_of_versions()
    tell_decisions()
    main(sys.argv[1:])
