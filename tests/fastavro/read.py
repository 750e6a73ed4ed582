#!/usr/bin/env python3
"""Reads Tailwater's events with a reader that is not ours: Python's fastavro.

    read.py REGISTRY_URL < values

Takes framed values from standard input, one a line, in hexadecimal. Fetches each schema by its id from the registry's
Confluent API, and prints one JSON object a line: {"schema": <record's full name>, "event": {...}}. Times are printed as
microseconds since the Unix epoch.
"""

import datetime
import functools
import io
import json
import struct
import sys
import urllib.request
import uuid

import fastavro

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)


@functools.cache
def schema(registry, schema_id):
    with urllib.request.urlopen(f"{registry}/schemas/ids/{schema_id}", timeout=10) as answer:
        return fastavro.parse_schema(json.loads(json.load(answer)["schema"]))


def plain(value):
    if isinstance(value, datetime.datetime):
        return (value - EPOCH) // datetime.timedelta(microseconds=1)
    if isinstance(value, uuid.UUID):
        return str(value)
    raise TypeError(f"{type(value)} was not expected in an event")


def main():
    registry = sys.argv[1].rstrip("/")
    for line in filter(None, map(str.strip, sys.stdin)):
        value = bytes.fromhex(line)
        magic, schema_id = struct.unpack(">bI", value[:5])
        if magic != 0:
            sys.exit(f"not in Confluent framing: {line}")
        written_under = schema(registry, schema_id)
        body = io.BytesIO(value[5:])
        event = fastavro.schemaless_reader(body, written_under)
        if body.read():
            sys.exit(f"bytes follow the {written_under['name']}: {line}")
        print(json.dumps({"schema": written_under["name"], "event": event}, default=plain, ensure_ascii=False))


if __name__ == "__main__":
    main()
