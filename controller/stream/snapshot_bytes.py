"""Writes a ledger as ``demand/1`` bytes, at the rate of chunks: what did not change is not written again.

A ledger holds a few horizons of buckets, of which a chunk touches one or two; the bytes of the others are kept. What
comes out is exactly what :class:`schemas.DemandSnapshot` encodes to; a property test holds the two together.
"""

from __future__ import annotations

import json

from controller.demand.counting import PartitionLedger


class SnapshotWriter:
    """Writes one ledger, again and again.

    Parameters
    ----------
    ledger : whose ``touched`` buckets this writer takes note of, and clears.
    """

    def __init__(self, ledger: PartitionLedger) -> None:
        self._ledger = ledger
        self._written: dict[int, str] = {}

    def write(self, *, is_at_end: bool) -> bytes:
        """Return the snapshot as it goes onto its topic and into the table."""
        ledger, written = self._ledger, self._written
        for bucket in ledger.touched:
            written.pop(bucket, None)
        ledger.touched.clear()
        for bucket in written.keys() - ledger.buckets.keys():
            del written[bucket]
        for bucket in ledger.buckets.keys() - written.keys():
            written[bucket] = self._bucket(bucket)
        buckets = ",".join(written[bucket] for bucket in sorted(written))
        return (
            f'{{"schema":"demand/1","partition":{ledger.partition},"next_offset":{ledger.next_offset},'
            f'"watermark":{_number(ledger.watermark_s)},"since":{_number(ledger.since_s)},'
            f'"as_of":{_number(ledger.as_of_s)},"at_end":{"true" if is_at_end else "false"},'
            f'"bucket_s":{ledger.windowing.bucket_s!r},"buckets":[{buckets}],'
            f'"counted":{ledger.counted},"late":{ledger.late},"refused":{ledger.refused},'
            f'"duplicates":{ledger.duplicates},"skipped":{ledger.skipped}}}'
        ).encode()

    def _bucket(self, bucket: int) -> str:
        totals = ",".join(
            f'{json.dumps(name, ensure_ascii=False)}:{{"events":{of.events},"count":{of.count},'
            f'"input_tokens":{of.input_tokens},"output_tokens":{of.output_tokens}}}'
            for name, of in self._ledger.buckets[bucket].items()
        )
        start_s = float(bucket * self._ledger.windowing.bucket_s)
        return f'{{"start":{start_s!r},"totals":{{{totals}}}}}'


def _number(value: float | None) -> str:
    return "null" if value is None else repr(float(value))
