"""What a document cannot say, put into the cases that schemathesis means to be accepted."""

import itertools
import re

import schemathesis
from schemathesis.generation import GenerationMode

numbers = itertools.count()


def whole(value):
    """JSON Schema counts 3.0 among the integers; our services, like most, do not."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [whole(item) for item in value]
    if isinstance(value, dict):
        return {name: whole(item) for name, item in value.items()}
    return value


def possible(value):
    """Not every month has a 29th, 30th or 31st day."""
    if isinstance(value, str):
        return re.sub(r"^([0-9]{4}-[0-9]{2})-(29|30|31)", r"\1-28", value)
    return value


@schemathesis.hook
def before_call(context, case, kwargs):
    if case.meta is None or case.meta.generation.mode is not GenerationMode.POSITIVE:
        return
    case.body = whole(case.body)
    # A key that comes again with another body is refused.
    if case.headers and "Idempotency-Key" in case.headers:
        key = str(case.headers["Idempotency-Key"])[:200]
        case.headers["Idempotency-Key"] = f"{key}-{next(numbers)}"
    if case.query:
        query = {name: possible(whole(value)) for name, value in case.query.items()}
        # A cursor belongs to one customer and one filter; the pages have tests of their own.
        query.pop("cursor", None)
        # An order as it was is asked for by its sequence or by a time.
        if "at_sequence" in query:
            query.pop("as_of", None)
        # The last day is not before the first.
        if isinstance(query.get("from"), str) and isinstance(query.get("to"), str):
            query["from"], query["to"] = sorted([query["from"], query["to"]])
        # Redis has orders as they are, not as they were.
        if case.headers and {"at_sequence", "as_of"} & query.keys():
            case.headers.pop("Tailwater-Model", None)
        case.query = query
