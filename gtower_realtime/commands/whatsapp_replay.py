"""`whatsapp replay`: webhooks that a running server works through again."""

import json
import os
from pathlib import Path

import click

from gtower_realtime.commands.webhook_calls import DEFAULT_URL, call, fail

_KEY = "GTOWER_API_KEY"


@click.command()
@click.option("--url", default=DEFAULT_URL, show_default=True, help="The server.")
@click.option("--since", metavar="TIME", help="All that came since then, like 2026-11-23T12:00Z.")
@click.option(
    "--key-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help=f"A file that has an API key with the scope admin. [default: the variable {_KEY}]",
)
@click.option("--json", "as_json", is_flag=True, help="The answer as the server gives it.")
def replay(*, url: str, since: str | None, key_file: Path | None, as_json: bool) -> None:
    """Have the server work through webhooks again: those set aside, or all since a time.

    What was published of them before is not published again.

    \b
    Exit status: 0 they are being worked through, 69 no answer, 76 the server refuses.
    """
    key = os.environ.get(_KEY, "") if key_file is None else key_file.read_text(encoding="utf-8")
    headers = {"Content-Type": "application/json"}
    if key.strip():
        headers["X-API-Key"] = key.strip()
    body = json.dumps({} if since is None else {"since": since}).encode()
    answer = call(f"{url.rstrip('/')}/whatsapp/replay", body, headers)
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
