"""What is wrong with the environment, in plain words: which variable, and how it is written."""

from pydantic import ValidationError

from shared import redis_url, sinks, tenants
from shared.broker_settings import PREFIX

FORMS = {
    "redis_url": redis_url.FORM,
    "redis_ca_file": "the path of a PEM file",
    "outputs": "s3://bucket/prefix/=s3://other/,… or a JSON object",
    "tenants": tenants.FORM,
    "results": sinks.FORM,
    "results_secret": "whsec_ and 24 to 64 bytes in base64",
    "usd_per_hour": "l4=0.35,h100=4.2,… or a JSON object",
    "sources": "s3://bucket/prefix,… or a JSON list",
    "video_suffixes": ".mp4,.mov,… or a JSON list",
    "addresses": "https://,https://host/folder/,file:///folder/,… or a JSON list",
    "segments": "auto, a number such as 8, or a length such as 30s",
}
"""How a variable is written, where its error does not say so."""


def wrong_variables(error: ValidationError) -> dict[str, str]:
    """Variable -> what is wrong with it, and how it is written."""
    wrong = {}
    for item in error.errors():
        # What is wrong with two of them together names the one to look at.
        field = str(item["loc"][0] if item["loc"] else item["ctx"]["field"])
        form = FORMS.get(field)
        wanted = _WANTED.get(item["type"])
        if wanted:
            message = f"{item['input']!r} is not {wanted.format(**item.get('ctx', {}))}"
        else:
            message = item["msg"].removeprefix("Value error, ")
        wrong[f"{PREFIX}{field.upper()}"] = f"{message}; write {form}" if form else message
    return wrong


_WANTED = {
    "int_parsing": "a whole number",
    "float_parsing": "a number",
    "literal_error": "one of {expected}",
    "greater_than": "more than {gt:g}",
    "greater_than_equal": "{ge:g} or more",
    "less_than_equal": "{le:g} or less",
    "string_pattern_mismatch": "understood",
}
"""pydantic's kinds of errors in plain words."""
