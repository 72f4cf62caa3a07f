"""Nodes of a cluster that do not answer in time, as receipts of the server tell of them."""

from typing import Any

import pytest

from gtower_realtime.publishing import Receipt


def let_receipts_be_partial(monkeypatch: pytest.MonkeyPatch, *nodes: str) -> None:
    """Have all receipts of the server in this process say that ``nodes`` have not answered.

    Without a name they say only that somebody has not.
    """
    told = Receipt.as_dict

    def partial(receipt: Receipt) -> dict[str, Any]:
        names = {"nodesMissing": list(nodes)} if nodes else {}
        return {**told(receipt), "partial": True, **names}

    monkeypatch.setattr(Receipt, "as_dict", partial)
