"""Wireshark's table of IKEv2 keys (`ikev2_decryption_table`): one IKE SA a line, eight columns.

    SPIi,SPIr,SK_ei,SK_er,"encryption",SK_ai,SK_ar,"integrity"

Octets are hexadecimal; the algorithms have the names that Wireshark's dissector gives them. It has none for some
algorithms that we can negotiate, and refuses a file with a name that it does not know, so such a row is written behind
a "#": Wireshark takes it for a comment, and we read it all the same.
"""

from __future__ import annotations

import csv
import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ikecore.record import record

from .problems import UsageProblem
from .text import printable

if TYPE_CHECKING:
    from ikecore.events import IkeKeyMaterial
    from ikecore.outputs import Output

__all__ = ["VARIABLE", "KeyRow", "key_logger", "read_key_table", "row_of"]

VARIABLE: Final = "IKEKEYLOGFILE"
"""The environment variable that names the file to which keys are appended."""

ENCRYPTION: Final[Mapping[str, str]] = {
    "AES_CBC-128": "AES-CBC-128 [RFC3602]",
    "AES_CBC-192": "AES-CBC-192 [RFC3602]",
    "AES_CBC-256": "AES-CBC-256 [RFC3602]",
    **{
        f"AES_GCM_{icv}-{bits}": f"AES-GCM-{bits} with {icv} octet ICV [RFC5282]"
        for icv in (8, 12, 16)
        for bits in (128, 192, 256)
    },
}
INTEGRITY: Final[Mapping[str, str]] = {
    "NONE": "NONE [RFC4306]",
    "HMAC_SHA1_96": "HMAC_SHA1_96 [RFC2404]",
    "HMAC_SHA2_256_128": "HMAC_SHA2_256_128 [RFC4868]",
    "HMAC_SHA2_384_192": "HMAC_SHA2_384_192 [RFC4868]",
    "HMAC_SHA2_512_256": "HMAC_SHA2_512_256 [RFC4868]",
}
OUR_NAMES: Final[Mapping[str, str]] = {theirs: ours for ours, theirs in (*ENCRYPTION.items(), *INTEGRITY.items())}
MOST_PROBLEMS: Final = 20
"""Lines that are told of one by one: a file that is no key table at all has a mistake in each."""
COLUMNS: Final = ("SPIi", "SPIr", "SK_ei", "SK_er", "encryption", "SK_ai", "SK_ar", "integrity")


@record
class KeyRow:
    """Keys of one IKE SA. Algorithms have our names ("AES_GCM_16-256"), or Wireshark's where we have none."""

    spi_i: bytes
    spi_r: bytes
    sk_ei: bytes
    sk_er: bytes
    encryption: str
    sk_ai: bytes
    sk_ar: bytes
    integrity: str


def row_of(keys: IkeKeyMaterial) -> str:
    """Return the line for *keys*, with its line end."""
    named = keys.encryption in ENCRYPTION and keys.integrity in INTEGRITY
    return "{}{},{},{},{},{},{},{},{}\n".format(
        "" if named else "#",
        keys.spi_i.hex(),
        keys.spi_r.hex(),
        keys.sk_ei.hex(),
        keys.sk_er.hex(),
        f'"{ENCRYPTION.get(keys.encryption, keys.encryption)}"',
        keys.sk_ai.hex(),
        keys.sk_ar.hex(),
        f'"{INTEGRITY.get(keys.integrity, keys.integrity)}"',
    )


def read_key_table(text: str, name: str) -> dict[tuple[bytes, bytes], KeyRow]:
    """Return the rows by SPIi and SPIr. A comment that is no row is passed over; any other line has to be one.

    Raises `UsageProblem` with a line for each mistake, for the first `MOST_PROBLEMS` of them.
    """
    rows: dict[tuple[bytes, bytes], KeyRow] = {}
    problems: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        comment = line.lstrip().startswith("#")
        content = line.strip().removeprefix("#")
        if not content.strip():
            continue
        try:
            row = parse_row(content)
        except ValueError as error:
            if not comment:
                problems.append(f"{name}: line {number}: {error}")
            continue
        rows[row.spi_i, row.spi_r] = row
    if len(problems) > MOST_PROBLEMS:
        more = len(problems) - MOST_PROBLEMS
        problems[MOST_PROBLEMS:] = [f"{name}: {more} more such lines: is this an ikev2_decryption_table?"]
    if problems:
        raise UsageProblem(*problems)
    return rows


def parse_row(line: str) -> KeyRow:
    """Read one line. Raises ValueError that names the column."""
    try:
        (columns,) = csv.reader([line], strict=True, skipinitialspace=True)
    except csv.Error as error:
        raise ValueError(str(error)) from None
    if len(columns) != len(COLUMNS):
        raise ValueError(f"{len(columns)} columns; a row has {len(COLUMNS)}: {', '.join(COLUMNS)}")
    values: list[bytes] = []
    for column in (0, 1, 2, 3, 5, 6):
        try:
            values.append(bytes.fromhex(columns[column].strip().removeprefix("0x")))
        except ValueError:
            raise ValueError(f"{COLUMNS[column]} is not hexadecimal") from None
    for column in (0, 1):
        if len(values[column]) != 8:
            raise ValueError(f"{COLUMNS[column]} has {len(values[column])} octets; an IKE SPI has 8")
    spi_i, spi_r, sk_ei, sk_er, sk_ai, sk_ar = values
    encryption, integrity = (OUR_NAMES.get(columns[column].strip(), columns[column].strip()) for column in (4, 7))
    return KeyRow(spi_i, spi_r, sk_ei, sk_er, encryption, sk_ai, sk_ar, integrity)


def key_logger(environment: Mapping[str, str]) -> Callable[[Output], None] | None:
    """Return what appends the keys of each IKE SA to the file that IKEKEYLOGFILE names, None where it is not set.

    Whoever reads the file can decrypt the traffic, so a new one is made for its owner alone. Raises `UsageProblem` if
    it cannot be written, before any SA is made.
    """
    path = environment.get(VARIABLE)
    if not path:
        return None
    append(Path(path), "")
    written: set[tuple[bytes, bytes]] = set()

    def observe(output: Output) -> None:
        from ikecore.events import IkeKeysDerived

        if isinstance(output, IkeKeysDerived):
            keys = output.export_keys()
            if (keys.spi_i, keys.spi_r) not in written:
                written.add((keys.spi_i, keys.spi_r))
                append(Path(path), row_of(keys))

    return observe


def append(path: Path, line: str) -> None:
    """Append *line* in one write, so that several processes may share the file."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, stat.S_IRUSR | stat.S_IWUSR)
        try:
            os.write(descriptor, line.encode("ascii"))
        finally:
            os.close(descriptor)
    except OSError as error:
        raise UsageProblem(f"{VARIABLE}: {printable(str(path))} cannot be written: {error.strerror}") from None
