"""From the figures of one case to the lines that people read."""

from typing import Any

_HEAD = f"{'':14}{'calls':>7}{'p10 ms':>9}{'p50 ms':>9}{'p90 ms':>9}{'p99 ms':>9}{'cpu ms':>9}{'bytes':>8}"


def table(case: str, report: dict[str, Any]) -> str:
    """A few lines; every figure is in the JSON, too."""
    rows = [f"{case}: {_described(report)}"]
    timed = {name: row for name, row in report.items() if isinstance(row, dict) and "p50_ms" in row}
    if case == "growth":
        timed = {
            f"{kind} {nodes}": row
            for kind, key in (("fixed", "filter"), ("all", "filter_all_names"), ("floor", "floor_all_names"))
            for nodes, row in report[key].items()
        }
    if timed:
        rows.append(_HEAD)
        rows += [_row(name, row) for name, row in timed.items()]
    if "ratio" in report:
        rows.append(f"filter p50 is {report['ratio']:.2f} times the floor's, p10 {report['ratio_p10']:.2f} times")
    return "\n".join(rows)


def _described(report: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in report.items() if not isinstance(value, dict))


def _row(name: str, row: dict[str, Any]) -> str:
    return (
        f"{name:14}{row['calls']:>7}{row['p10_ms']:>9.3f}{row['p50_ms']:>9.3f}{row['p90_ms']:>9.3f}{row['p99_ms']:>9.3f}"
        f"{row['cpu_ms']:>9.3f}{row['bytes_out']:>8}"
    )
