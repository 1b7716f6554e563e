"""A mail server for the demo: it sends nothing on and writes down what it received.

It behaves as mail servers do. It takes its time; it answers "try again later" (451) to the
first mail for one address in eight; it refuses for good (550) what `refused.txt` names, and
reads that file again for each mail. Its port is printed on its first line. It ends when its
standard input ends, so it never outlives the program that started it.
"""

from __future__ import annotations

import asyncio
import sys
from email import message_from_bytes
from email.policy import default
from typing import Final
from zlib import crc32

from aiosmtpd.smtp import SMTP, Envelope, Session
from msgspec import json

from examples.orders.place import Place

TAKES_S: Final = 0.7
"""How long it works on a mail before it says yes."""
GREYLISTED: Final = 8
"""One address in so many is told to come back later, as spam filters do."""


class Mailbox:
    """What happens to mails; aiosmtpd calls its methods by their names."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._takes_s = TAKES_S * place.pace
        self._seen: set[str] = set()

    async def handle_RCPT(  # noqa: N802 -- the names and the order are aiosmtpd's
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: object
    ) -> str:
        """Say whether mail for this address is taken."""
        no = self._refusal(address)
        if no is not None:
            return f"550 {no}"
        if address not in self._seen and crc32(address.encode()) % GREYLISTED == 0:
            self._seen.add(address)
            return "451 4.7.1 come back later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(  # noqa: N802 -- as above
        self, _server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        """Write a mail down; a sender that dies after that never hears the yes."""
        await asyncio.sleep(0.25 * self._takes_s)
        assert isinstance(envelope.content, bytes), "the server was not told to decode mails"
        mail = message_from_bytes(envelope.content, policy=default)
        line = {
            "id": str(mail["Message-ID"]).strip("<> "),
            "to": envelope.rcpt_tos,
            "subject": str(mail["Subject"]),
        }
        with self._place.mails.open("ab", buffering=0) as file:
            file.write(json.encode(line) + b"\n")
        await asyncio.sleep(0.75 * self._takes_s)
        return "250 OK"

    def _refusal(self, address: str) -> str | None:
        """Look an address and its domain up in the list of what is refused."""
        domain = address.partition("@")[2]
        for line in self._place.refused.read_text(encoding="utf-8").splitlines():
            name, _, answer = line.partition(" ")
            if name in (address, domain):
                return answer.strip()
        return None


async def serve(place: Place) -> None:
    """Serve until standard input ends."""
    loop = asyncio.get_running_loop()
    mailbox = Mailbox(place)
    server = await loop.create_server(
        lambda: SMTP(mailbox, hostname="localhost", loop=loop), host="127.0.0.1", port=0
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(serve(Place.of_environment()))
