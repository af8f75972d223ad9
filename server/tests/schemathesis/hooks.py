"""Rules that the OpenAPI documents cannot express: a key has a checksum and opens one record, headers with an id, a key
or options belong to a body of bytes, a record and a batch have a layout. Without them hardly any request would succeed."""

import base64
import os

import requests
import schemathesis

KEY, URL = os.environ["STRONGROOM_KEY"], os.environ["STRONGROOM_URL"]
BYTES = "application/octet-stream"
HEADERS_OF_BYTES = [f"Strongroom-{name}" for name in ("Id", "Key", "New-Key", "Expires-At", "Expires-In", "Pad")]
calls = 0


@schemathesis.hook
def before_call(context, case, kwargs):
    """Completes a valid request; an invalid one is sent unchanged."""
    global calls
    if case.meta is not None and case.meta.generation.mode.is_negative:
        return
    calls += 1
    if case.media_type != BYTES:
        for name in HEADERS_OF_BYTES:
            case.headers.pop(name, None)
    record_id, is_object = calls.to_bytes(4), isinstance(case.body, dict)
    if case.path == "/v1/store":
        if case.media_type == BYTES:
            case.headers["Strongroom-Id"] = to_url(record_id)
            case.headers.pop("Strongroom-Key", None)
        elif is_object and "key" in case.body:
            case.body["key"] = KEY
    elif case.path in ("/v1/retrieve", "/v1/replace", "/v1/delete"):
        # For every second request, the record exists.
        key = new_record(record_id) if calls % 2 else KEY
        if case.media_type == BYTES:
            case.headers.update({"Strongroom-Id": to_url(record_id), "Strongroom-Key": key})
            case.headers.pop("Strongroom-New-Key", None)
        elif is_object:
            case.body = {name: case.body[name] for name in case.body if name not in ("id", "new_key")}
            case.body |= {"id_base64": base64.b64encode(record_id).decode(), "key": key}
    elif hasattr(case.body, "data"):
        case.body = laid_out(case.path, case.body.data)


def new_record(record_id: bytes) -> str:
    headers = {"Strongroom-Id": to_url(record_id), "Content-Type": BYTES}
    return requests.post(f"{URL}/v1/store", data=bytes(100), headers=headers).json()["key"]


def to_url(record_id: bytes) -> str:
    return base64.urlsafe_b64encode(record_id).decode().rstrip("=")


def laid_out(path: str, body: bytes) -> bytes:
    """The body for an operation of the storage service."""
    record = body.ljust(68, b"\0")
    match path:
        case "/v1/records/{locator}":
            return record
        case "/v1/get-many":
            return body[: len(body) // 32 * 32]
        case "/v1/create-many":
            return body[:32].ljust(32, b"\0") + len(record).to_bytes(8, "little") + record
    return body
