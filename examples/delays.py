"""The module beside the notebook: what one group of flights says about delays."""

from __future__ import annotations

import pandas as pd


def summary(flights: pd.DataFrame) -> pd.Series:
    """How late the flights were, and how it went over the year."""
    delay = flights["arr_delay"]
    hundred = delay.rolling(100, min_periods=1).mean()
    return pd.Series(
        {
            "flights": len(flights),
            "mean": delay.mean(),
            "p95": delay.quantile(0.95),
            "late": (delay > 15).mean(),
            "worst_hundred": hundred.max(),
        }
    )
