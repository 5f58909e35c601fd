#!/usr/bin/env python3
"""Writes signatures.txt: what botocore signs for the inputs of test/aws/botocore-tokens.test.ts. CONTRIBUTING.md says how to run it."""

import datetime
import hashlib
import json
import pathlib
import types

import botocore
import botocore.auth
import botocore.credentials
import botocore.hooks
import botocore.model
import botocore.signers

FOLDER = pathlib.Path(__file__).parent
COUNT = 2_000
LISTS = json.loads((FOLDER / "inputs.json").read_text())


def make_input(index):
    """The same function is in botocore-tokens.test.ts."""
    digest = hashlib.sha512(f"token {index}".encode()).digest()
    region, suffix = LISTS["regions"][digest[0] % len(LISTS["regions"])]
    host = f"{LISTS['hosts'][digest[1] % len(LISTS['hosts'])]}.{region}.{suffix}"
    port = LISTS["ports"][digest[2] % len(LISTS["ports"])]
    characters = LISTS["userCharacters"]
    user = "".join(characters[byte % len(characters)] for byte in digest[8 : 9 + digest[3] % 32])
    letters = LISTS["tokenCharacters"]
    session = "".join(letters[byte % len(letters)] for byte in digest[40:60]) * (1 + digest[5] % 40)
    seconds = 1_600_000_000 + int.from_bytes(digest[60:64], "big") % 1_000_000_000
    return {
        "host": host,
        "port": port,
        "region": region,
        "user": user,
        "access_key": f"ASIA{digest[4:12].hex().upper()}",
        "secret_key": digest[12:32].hex(),
        "token": session if digest[4] % 2 else None,
        "seconds": seconds,
    }


def sign(given):
    """The token, with its parameters sorted."""
    now = datetime.datetime.fromtimestamp(given["seconds"], datetime.timezone.utc)
    botocore.auth.get_current_datetime = lambda remove_tzinfo=True: now.replace(tzinfo=None) if remove_tzinfo else now
    keys = botocore.credentials.Credentials(given["access_key"], given["secret_key"], given["token"])
    events = botocore.hooks.HierarchicalEmitter()
    service = botocore.model.ServiceId("RDS")
    signer = botocore.signers.RequestSigner(service, given["region"], "rds", "v4", keys, events)
    # A whole client takes a second to create. The function needs no more of it than this.
    client = types.SimpleNamespace(_request_signer=signer)
    token = botocore.signers.generate_db_auth_token(
        client, given["host"], given["port"], given["user"], given["region"]
    )
    place, parameters = token.split("?")
    assert now.strftime("%Y%m%dT%H%M%SZ") in parameters
    return f"{place}?{'&'.join(sorted(parameters.split('&')))}"


lines = [f"# botocore {botocore.__version__}"]
for index in range(COUNT):
    token = sign(make_input(index))
    if index < 3:
        print(token)
    lines.append(hashlib.sha256(token.encode()).hexdigest()[:20])
(FOLDER / "signatures.txt").write_text("\n".join(lines) + "\n")
