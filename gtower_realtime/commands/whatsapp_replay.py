"""`whatsapp replay`: webhooks that a running server works through again."""

import json
import os
from pathlib import Path

import click

from gtower_realtime.commands.server_access import api_key, fail, key_option
from gtower_realtime.commands.webhook_calls import address_of, call

_PATH = "/whatsapp/replay"


@click.command()
@click.option("--url", help="The server. [default: where the settings say]")
@click.option("--since", metavar="TIME", help="All that came since then, like 2026-11-23T12:00Z.")
@key_option
@click.option("--json", "as_json", is_flag=True, help="The answer as the server gives it.")
def replay(*, url: str | None, since: str | None, key_file: Path | None, as_json: bool) -> None:
    """Have the server work through webhooks again: those set aside, or all since a time.

    What was published of them before is not published again.

    \b
    Exit status: 0 they are being worked through, 69 no answer, 76 the server refuses.
    """
    key = api_key(key_file)
    headers = {"Content-Type": "application/json"} | ({"X-API-Key": key} if key else {})
    body = json.dumps({} if since is None else {"since": since}).encode()
    url = address_of("") if url is None else url.rstrip("/")
    answer = call(url + _PATH, body, headers)
    if answer.status != 200:
        fail(f"{url} answers {answer.status}: {_message(answer.body)}", os.EX_PROTOCOL)
    if as_json:
        click.echo(answer.body)
    else:
        click.echo(f"Webhooks to be worked through again: {json.loads(answer.body)['replayed']}")


def _message(body: bytes) -> str:
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return body[:200].decode(errors="replace")
