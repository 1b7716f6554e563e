"""How were `orders.csv` and `refused.txt` made? By `python -m examples.orders.generate`.

The seed is fixed, so the files come out the same each time and can be changed by changing
this file. People, addresses and orders are invented; a known number of rows is bad.
"""

from __future__ import annotations

import csv
import unicodedata
from collections.abc import Iterator
from dataclasses import astuple, dataclass, fields, replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Final

from examples.orders.place import ORDERS_CSV, REFUSED_TXT
from examples.orders.rows import Row

SEED: Final = 20_240_630
CUSTOMERS: Final = 350
ORDERS: Final = 3_000
FIRST_DAY: Final = date(2024, 1, 1)
DAYS: Final = 182
BAD: Final = {
    "negative quantity": 24,
    "broken e-mail address": 18,
    "unknown currency": 15,
    "impossible date": 12,
}
"""How many rows are bad, by what is wrong with them."""

NEW_DOMAIN: Final = "post.example.org"
"""One customer in twenty has an address here; the mail server does not know it yet."""
CLOSED: Final = (23, 101, 163, 244, 318)
"""Customers whose mailbox is closed."""

COUNTRIES: Final = {
    "AT": ("EUR", "1"), "CH": ("CHF", "0.96"), "DE": ("EUR", "1"), "ES": ("EUR", "1"),
    "FR": ("EUR", "1"), "GB": ("GBP", "0.85"), "IE": ("EUR", "1"), "NL": ("EUR", "1"),
    "PL": ("PLN", "4.30"), "SE": ("SEK", "11.30"), "US": ("USD", "1.08"),
}  # fmt: skip
"""Currency and price of one euro in it."""
PRODUCTS: Final = {
    "Bench plane": "64.90", "Bread knife": "29.50", "Cast iron pan": "48.00",
    "Coffee grinder": "79.00", "Desk lamp": "54.90", "Enamel mug": "11.50",
    "Fountain pen": "36.00", "Garden shears": "42.50", "Hand drill": "58.00",
    "Linen apron": "33.00", "Notebook A5": "8.90", "Oak chopping board": "39.00",
    "Oil lamp": "45.50", "Paint brush set": "19.90", "Pocket knife": "27.00",
    "Rain jacket": "98.00", "Shoe brush": "14.50", "Thermos bottle": "31.00",
    "Tin opener": "9.90", "Wool blanket": "112.00",
}  # fmt: skip
FIRST_NAMES: Final = (
    "Ada", "Agnes", "Anton", "Aoife", "Björn", "Carla", "Chloé", "Daniel", "Ebba", "Elena",
    "Emil", "Fatima", "Felix", "Greta", "Hanna", "Hugo", "Ines", "Jakub", "James", "Jonas",
    "Julia", "Karim", "Lara", "Léa", "Lena", "Liam", "Lucía", "Mara", "Marek", "Marta", "Mateo",
    "Mia", "Nils", "Noor", "Olga", "Oscar", "Paula", "Pierre", "Robert", "Rosa", "Samuel", "Sara",
    "Sofia", "Théo", "Tomás", "Vera", "Zoë",
)  # fmt: skip
LAST_NAMES: Final = (
    "Andersson", "Bauer", "Becker", "Bernard", "Brown", "Castro", "Clark", "Dubois", "Ek",
    "Fischer", "García", "Gruber", "Hansen", "Herrera", "Hoffmann", "Huber", "Jansen", "Keller",
    "Kelly", "Klein", "Kowalska", "Kowalski", "Lambert", "Lindberg", "López", "Martin", "Meier",
    "Moreau", "Murphy", "Müller", "Navarro", "Nilsson", "Nowak", "Olsen", "Petit", "Rossi",
    "Roux", "Ryan", "Schmid", "Schulz", "Smith", "Taylor", "Visser", "Vogel", "Walker", "Weber",
    "Wilson", "Wójcik", "Zieliński",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Customer:
    """A customer of the invented shop."""

    id: str
    name: str
    email: str
    country: str


def make_customers(random: Random) -> list[Customer]:
    """Invent the customers."""
    found = []
    for number in range(1, CUSTOMERS + 1):
        first, last = random.choice(FIRST_NAMES), random.choice(LAST_NAMES)
        domain = random.choice(("example.com", "example.org"))
        if number % 20 == 7:  # noqa: PLR2004 -- one in twenty
            domain = NEW_DOMAIN
        # The number keeps the addresses of namesakes apart.
        email = f"{_plain(first)}.{_plain(last)}{number}@{domain}"
        country = random.choice(tuple(COUNTRIES))
        found.append(Customer(f"C{number:04}", f"{first} {last}", email, country))
    return found


def make_rows(random: Random, customers: list[Customer]) -> Iterator[Row]:
    """Invent the orders, by date, some of them bad."""
    days = sorted(random.randrange(DAYS) for _ in range(ORDERS))
    faults = [kind for kind, count in BAD.items() for _ in range(count)]
    bad = dict(zip(random.sample(range(ORDERS), len(faults)), faults, strict=True))
    # Every customer has one order at least.
    buyers = [*customers, *random.choices(customers, k=ORDERS - CUSTOMERS)]
    random.shuffle(buyers)
    for number, (day, who) in enumerate(zip(days, buyers, strict=True)):
        row = _order(random, f"O-{100_001 + number}", who, FIRST_DAY + timedelta(days=day))
        yield _spoiled(row, bad[number]) if number in bad else row


def _order(random: Random, order_id: str, who: Customer, day: date) -> Row:
    product = random.choice(tuple(PRODUCTS))
    currency, rate = COUNTRIES[who.country]
    price = (Decimal(PRODUCTS[product]) * Decimal(rate)).quantize(Decimal("0.01"))
    quantity = random.choice((1, 1, 1, 1, 2, 2, 3, 4, 6, 12))
    return Row(
        order_id, who.id, who.name, who.email, product, str(quantity), str(price), currency,
        day.isoformat(), who.country,
    )  # fmt: skip


def _spoiled(row: Row, kind: str) -> Row:
    """Give a row one fault."""
    match kind:
        case "negative quantity":
            return replace(row, quantity=f"-{row.quantity}")
        case "broken e-mail address":
            return replace(row, email=row.email.replace("@", " at "))
        case "unknown currency":
            return replace(row, currency="XBT")
        case _:
            return replace(row, date=f"{row.date[:4]}-02-30")


def _plain(name: str) -> str:
    """Write a name with the letters of mail addresses."""
    letters = unicodedata.normalize("NFKD", name.replace("ł", "l"))
    return letters.encode("ascii", "ignore").decode().lower()


def write(orders_csv: Path = ORDERS_CSV, refused_txt: Path = REFUSED_TXT) -> None:
    """Write both files."""
    random = Random(SEED)  # noqa: S311 -- invented orders, no secrets
    customers = make_customers(random)
    with orders_csv.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(field.name for field in fields(Row))
        table.writerows(map(astuple, make_rows(random, customers)))
    closed = [f"{customers[number - 1].email} 5.1.1 mailbox is closed" for number in CLOSED]
    lines = [f"{NEW_DOMAIN} 5.1.2 domain is not set up", *closed]
    refused_txt.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write()
