"""Every error Jamak raises on purpose. The branch says what happens to the work.

    JamakError
    ├── ConfigError            the operator must change something; the process refuses to start
    │   ├── UsageError                               what was typed: an argument is wrong
    │   ├── NoSuchBucket  NoSuchQueue                what is named is not there
    │   ├── BadCredentials  WrongRegion              S3 or SQS do not know who asks
    │   └── BrokerRefuses                            Redis answers, and does not let us in
    ├── Retry                  the work is fine, the world is not: try again with back-off
    │   ├── StoreUnavailable     throttled, 5xx, timed out
    │   ├── QueueUnavailable     SQS throttles, 5xx, timed out
    │   ├── BrokerUnavailable    Redis does not answer, or takes nothing for now
    │   │   └── BrokerFails          it answers with an error that nobody knows
    │   ├── OutOfResources       this machine has no disk, memory, process or file left, it seems
    │   ├── SickMachine          it was examined: nothing can be done on it now
    │   ├── Outage               the store was examined: it answers for nobody now
    │   │   └── StillAway            so it was when it was examined last
    │   ├── LeaseLost            somebody else has the message now: write nothing
    │   ├── Draining             this worker ends: the next one goes on from here
    │   └── NotForMe             the work is for another worker: hand it on
    │       ├── NewerMessage       written by a newer Jamak
    │       ├── NewerObject        so is something in the bucket, which is left alone
    │       ├── WrongModel         asks for another base model
    │       ├── NoRoom             this card has no memory for it for now
    │       └── HandedUp           it waits for a larger class of card now
    ├── Conflict               a conditional write lost: somebody else wrote first
    ├── Unwritable             neither record nor failure can be written: the job is set aside
    ├── Unfinished             a command did a part of its work
    ├── Cancelled              somebody wants the work to end, and nothing of it to be kept
    ├── Paused                 somebody wants the work to rest, and to go on with it later
    └── Reject                 trying again cannot help: becomes a failure record
        ├── Missing (Gone)  Forbidden  Overwritten   the object
        │   NoRanges  Archived  Encrypted  StoreRefuses
        ├── EmptyFile  NotAVideo  NoVideoStream      what is in it
        │   Truncated  TooLarge  TooSlow
        ├── DamagedObject                            what Jamak wrote, and cannot read any more
        ├── DoesNotFit  LacksMemory                  the request against card or model
        ├── EmptyCaption  NotFinite                  the model said nothing
        ├── KillsWorkers  Hangs  DecoderDied         what it does to its workers
        ├── BadMessage  BadData  BadAdapter          malformed input of other kinds
        ├── Diverged                                 what a training came to
        └── InternalError                            a fault of ours

Each carries `reason` (a stable word for machines), `cure` (one line for people) and `evidence`
(facts as data). Foreign errors are translated where they enter; unknown ones are left alone.

The branch says with which code a process ends, too, and each code has one meaning:

    0   done
    1   it was tried and failed, or a part of it did
    2   an argument is wrong: it cannot be understood, or names what is not there
    78  something must be configured first: a variable, a bucket, a right (EX_CONFIG of sysexits.h)

A process that a signal ends says 128 and the signal's number: 130 after Ctrl-C.
"""

from typing import Any, ClassVar


class JamakError(Exception):
    """`str(error)` says what is wrong with which input; `cure` says what to do about it."""

    reason: ClassVar[str] = "error"
    exit_code: int = 1
    cure: str = ""
    place: tuple[str, str] | None = None
    """Bucket and key that the store was asked for, of its errors."""

    def __init__(self, message: str, *, cure: str | None = None, **evidence: Any) -> None:
        super().__init__(message)
        if cure is not None:
            self.cure = cure
        self.evidence = evidence


class ConfigError(JamakError):
    reason = "config"
    exit_code = 78


class UsageError(ConfigError):
    """Args:
    argument: its name, where the value alone does not tell: `--since`.
    """

    reason = "usage"
    exit_code = 2

    def __init__(
        self, message: str, *, cure: str | None = None, argument: str = "", **evidence: Any
    ) -> None:
        super().__init__(f"{argument}: {message}" if argument else message, cure=cure, **evidence)


class NoSuchBucket(ConfigError):
    """`bucket` is its name, `named_by` the argument or the variable that it comes from."""

    reason = "no_such_bucket"
    cure = "Create it, or correct its name."

    def __init__(self, bucket: str, named_by: str = "", *, cure: str | None = None) -> None:
        where = f" (named by {named_by})" if named_by else ""
        super().__init__(f"the bucket s3://{bucket} does not exist{where}", cure=cure)
        self.bucket, self.named_by = bucket, named_by

    def named(self, by: str) -> "NoSuchBucket":
        """The same, with the argument or the variable that names it, unless that is known."""
        return self if self.named_by else NoSuchBucket(self.bucket, by, cure=self.cure)


class NoSuchQueue(ConfigError):
    reason = "no_such_queue"
    cure = "Check JAMAK_EVENTS_QUEUE_URL, its region and its account."


class BadCredentials(ConfigError):
    reason = "bad_credentials"
    cure = "Check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE or the role."


class WrongRegion(ConfigError):
    reason = "wrong_region"
    cure = "Set AWS_DEFAULT_REGION to the region that it lies in."


class BrokerRefuses(ConfigError):
    reason = "broker_refuses"
    cure = "Check JAMAK_REDIS_URL, and that its user may do what infra/redis/users.acl grants."


class Retry(JamakError):
    reason = "retry"


class StoreUnavailable(Retry):
    reason = "store_unavailable"
    cure = "Check that the S3 endpoint answers and that its request limits are not exceeded."


class QueueUnavailable(Retry):
    reason = "queue_unavailable"
    cure = "Check that the SQS endpoint answers and that its request limits are not exceeded."


class BrokerUnavailable(Retry):
    reason = "broker_unavailable"
    cure = "Check JAMAK_REDIS_URL (for TLS also JAMAK_REDIS_CA_FILE), and that Redis runs."


class BrokerFails(BrokerUnavailable):
    reason = "broker_fails"
    cure = "Look at Redis's log, and whether something else writes under JAMAK_REDIS_PREFIX."


class OutOfResources(Retry):
    reason = "out_of_resources"
    cure = "Look at the worker's disk (TMPDIR), memory, and limits of processes and open files."


class SickMachine(Retry):
    """Of the machine alone: this is no attempt of the job."""

    reason = "sick_machine"
    cure = "Look at /readyz of that worker: it says what its machine lacks."


class Outage(Retry):
    """Of a source or an output: this is no attempt of the job."""

    reason = "outage"
    cure = "Look at /readyz of that worker: it says which store does not answer, and how."


class StillAway(Outage):
    """The job was not begun."""


class LeaseLost(Retry):
    reason = "lease_lost"
    cure = "Nothing to do: the job is done by whoever holds its lease."


class Draining(Retry):
    reason = "draining"


class NotForMe(Retry):
    reason = "not_for_me"


class NewerMessage(NotForMe):
    reason = "newer_message"
    cure = "Upgrade this process: the message was written by a newer Jamak."


class NewerObject(NotForMe):
    reason = "newer_object"
    cure = "Upgrade this process: a newer Jamak wrote it. It stays as it is, and the rest goes on."


class WrongModel(NotForMe):
    reason = "wrong_model"
    cure = "Give producer and workers the same JAMAK_MODEL and JAMAK_MODEL_REVISION."


class NoRoom(NotForMe):
    """Known from others, so it was not tried: there is less memory than usual."""

    reason = "no_room"
    cure = "Look at what else uses the card's memory; it is tried again before long."


class HandedUp(NotForMe):
    """It has another message now, in the queue of a larger class."""

    reason = "handed_up"


class Conflict(JamakError):
    reason = "conflict"


class Unwritable(JamakError):
    reason = "unwritable"
    cure = "Let the worker write to the output, then `jamak poison redrive`."


class Cancelled(JamakError):
    reason = "cancelled"
    cure = "Nothing to do: send it again if it is still wanted."


class Paused(JamakError):
    """Its message is settled, and nothing is written of how it ended: it has not."""

    reason = "paused"
    cure = "`jamak train resume` sends it again."


class Unfinished(JamakError):
    """Args:
    told: what was done all the same, as `--json` shows it beside the error.
    """

    reason = "unfinished"

    def __init__(
        self, message: str, *, cure: str | None = None, told: dict[str, Any] | None = None
    ) -> None:
        super().__init__(message, cure=cure)
        self.told = told or {}


class Reject(JamakError):
    reason = "rejected"


class Missing(Reject):
    reason = "missing"
    cure = "The object is gone. Upload it again if it is still wanted."


class Gone(Missing):
    reason = "gone"
    cure = "Nothing to do: the video was deleted. Its record or failure stays until it expires."


class Forbidden(Reject):
    reason = "forbidden"
    cure = "Grant the role what README lists; without s3:ListBucket a missing key is denied too."


class Overwritten(Reject):
    reason = "overwritten"
    cure = "Nothing to do: the newer version of the video is captioned by its own job."


class DamagedObject(Reject):
    reason = "damaged_object"
    cure = "Bring an earlier version of this object back, or delete it and ask for it again."


class NoRanges(Reject):
    reason = "no_ranges"
    cure = "The server does not honour Range requests. Copy the video into a bucket."


class Archived(Reject):
    reason = "archived"
    cure = (
        "Restore it first (`aws s3api restore-object`). The event that it is restored makes a new "
        "job; without events, `jamak failures redrive --reason archived` does."
    )


class Encrypted(Reject):
    reason = "encrypted"
    cure = "Copy it, with its key, into an object that is encrypted with SSE-S3 or SSE-KMS."


class StoreRefuses(Reject):
    """What it says is none of what is known here."""

    reason = "store_refuses"
    cure = "The words of the store say what it does not take. Other objects are not concerned."


class EmptyFile(Reject):
    reason = "empty_file"
    cure = "The object has 0 bytes. Upload the video again."


class NotAVideo(Reject):
    reason = "not_a_video"
    cure = "Upload an MP4, MOV, MKV or WebM file, or filter this key out."


class NoVideoStream(Reject):
    reason = "no_video_stream"
    cure = "The file has sound only. Filter such files out, or upload the picture too."


class Truncated(Reject):
    reason = "truncated"
    cure = "The file ends too early: the upload was probably cut. Upload it again."


class TooLarge(Reject):
    reason = "too_large"
    cure = (
        "Upload a smaller rendition, or raise JAMAK_MAX_PIXELS, JAMAK_MAX_VIDEO_BYTES or, for what "
        "decoding takes, JAMAK_DECODER_MEMORY_MIB or JAMAK_MAX_DECODED_FRAMES."
    )


class TooSlow(Reject):
    reason = "too_slow"
    cure = (
        "Upload a smaller rendition, or raise JAMAK_DECODE_CPU_S, JAMAK_DECODE_DEADLINE_S or, for "
        "the caption as a whole, JAMAK_CAPTION_DEADLINE_S."
    )


class DoesNotFit(Reject):
    reason = "does_not_fit"
    cure = "Ask for fewer frames, or name a larger card class with --card."


class LacksMemory(DoesNotFit):
    """`again`: whoever plans the next time gets less, which may fit."""

    reason = "lacks_memory"
    cure = "Start a worker on a larger card, then `jamak failures redrive --reason lacks_memory`."

    def __init__(self, message: str, *, again: bool = False) -> None:
        super().__init__(message)
        self.again = again


class EmptyCaption(Reject):
    reason = "empty_caption"
    cure = "The model answered with nothing. Try another prompt or fewer frames."


class NotFinite(Reject):
    """Of other captions that were made at the same time nothing is known to be wrong."""

    reason = "not_finite"
    cure = "Roll the adapter back if there is one; else ask on another class of card."


class KillsWorkers(Reject):
    reason = "kills_workers"
    cure = "Look at the video: workers died with it, also alone and with half of its frames."


class Hangs(Reject):
    reason = "hangs"
    cure = "Look at the video: it stood still on several workers until its lease was lost."


class DecoderDied(Reject):
    reason = "decoder_died"
    cure = "Look at the video: its decoder crashed on it, twice. Encode it again, or filter it out."


class BadMessage(Reject):
    reason = "bad_message"
    cure = "Something else writes to this queue. Enqueue with `jamak enqueue`."


class BadData(Reject):
    reason = "bad_data"
    cure = "See docs/training.md for the format of a training manifest."


class BadAdapter(Reject):
    reason = "bad_adapter"
    cure = "Do not activate this version: train it again from this worker's base model."


class Diverged(Reject):
    """Of a training. Tried again it would come to the same: its order and its chance are fixed."""

    reason = "diverged"
    cure = "Nothing of it was published. Send it again with a lower --learning-rate: a tenth of it."


class InternalError(Reject):
    """A fault of ours, on the record instead of in a log that rolls over."""

    reason = "internal_error"
    cure = "Please report it, with the evidence in this record."


def told_again(reason: str, message: str, cure: str) -> JamakError:
    """An error that another process told. One that is not known here is a Reject."""
    kinds = [kind for kind in globals().values() if isinstance(kind, type)]
    named = (kind for kind in kinds if issubclass(kind, JamakError) and kind.reason == reason)
    kind: type[JamakError] = next(named, Reject)
    error = kind.__new__(kind)
    JamakError.__init__(error, message, cure=cure)
    return error
