"""Who named a bucket: an argument, an option or a variable, as a person would look for it."""

from collections.abc import Mapping, Sequence

from shared.settings import Settings

VARIABLES = ("JAMAK_OUTPUT", "JAMAK_OUTPUTS", "JAMAK_SOURCES")


def named_by(bucket: str, arguments: Sequence[str], environ: Mapping[str, str]) -> str:
    """Empty: nobody that can be seen here, an inventory or a manifest perhaps."""
    option = ""
    for argument in arguments:
        if _names(argument, bucket):
            name, equals, _ = argument.partition("=s3://")
            if argument.startswith("--") and equals:
                return f"the option {name}"
            return f"the option {option}" if option else f"the argument {argument}"
        option = argument if argument.startswith("--") else ""
    for variable in VARIABLES:
        if _names(environ.get(variable, ""), bucket):
            return variable
    if not environ.get("JAMAK_OUTPUT") and _names(Settings.model_fields["output"].default, bucket):
        return "JAMAK_OUTPUT, which is not set"
    return ""


def _names(text: str, bucket: str) -> bool:
    ends = ("/", ",", '"', "=")
    return f"s3://{bucket}" in (text, text[-5 - len(bucket) :]) or any(
        f"s3://{bucket}{end}" in text for end in ends
    )
