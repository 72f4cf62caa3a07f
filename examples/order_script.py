"""A plain script that tells a room that something is done, as a cron job would.

REALTIME_API_KEY=… python -m examples.order_script sales 1042 shipped
"""

import argparse
import os
import sys

from gtower_realtime.client import RealtimeClient, RealtimeClientError


def main(arguments: list[str]) -> int:
    """Send `orderUpdated` to a room; return the exit status."""
    parser = argparse.ArgumentParser(description="Tell a room about an order.")
    parser.add_argument("room")
    parser.add_argument("order_id", type=int)
    parser.add_argument("state")
    wanted = parser.parse_args(arguments)
    url = os.environ.get("REALTIME_URL", "http://localhost:3000")
    with RealtimeClient(url, api_key=os.environ.get("REALTIME_API_KEY")) as realtime:
        try:
            receipt = realtime.send_event_to_room(
                wanted.room, "orderUpdated", {"orderId": wanted.order_id, "state": wanted.state}
            )
        except RealtimeClientError as problem:
            print(problem, file=sys.stderr)  # noqa: T201
            return 1
    print(f"{receipt.recipients} connections have it, {receipt.pending} get it later")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
