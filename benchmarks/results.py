"""What was measured, round by round, and what follows from it."""

import statistics
from dataclasses import dataclass, field
from typing import Any

Row = dict[str, Any]


@dataclass(slots=True)
class Results:
    """Every round of everything, as it comes in."""

    rows: list[Row] = field(default_factory=list)
    failures: list[Row] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)

    def add(self, work: str, connections: int, subject: str, number: int, row: Row) -> None:
        """Keep a round."""
        key = {"work": work, "connections": connections, "subject": subject, "round": number}
        self.rows.append(key | row)

    def fail(self, work: str, connections: int, subject: str, number: int, reason: str) -> None:
        """Keep that a round came to nothing."""
        key = {"work": work, "connections": connections, "subject": subject, "round": number}
        self.failures.append(key | {"reason": reason})

    def leave_out(self, subject: str, reason: str) -> None:
        """Keep that a subject is not measured."""
        self.left_out[subject] = reason

    def print_summary(self, work: str, connections: int) -> None:
        """Print the medians of a work, and their ratios to the first subject's."""
        rows = [r for r in self.rows if (r["work"], r["connections"]) == (work, connections)]
        names = list(dict.fromkeys(row["subject"] for row in rows))
        for name in names:
            rates = [row["rate"] for row in rows if row["subject"] == name]
            first = {row["round"]: row["rate"] for row in rows if row["subject"] == names[0]}
            ratios = [
                row["rate"] / first[row["round"]]
                for row in rows
                if row["subject"] == name and row["round"] in first
            ]
            p99 = statistics.median(row["p99_ms"] for row in rows if row["subject"] == name)
            cores = [
                statistics.median(row[f"{part}_cores"] for row in rows if row["subject"] == name)
                for part in ("server", "database", "load")
            ]
            print(
                f"  {name:24} {statistics.median(rates):8.0f}/s ({min(rates):.0f} to "
                f"{max(rates):.0f})  × {statistics.median(ratios):.3f} ({min(ratios):.3f} to "
                f"{max(ratios):.3f})  p99 {p99:.2f} ms; cores: server {cores[0]:.2f}, "
                f"database {cores[1]:.2f}, load {cores[2]:.2f}"
            )
