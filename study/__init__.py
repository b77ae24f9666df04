"""Which trials run, where and when, and what is kept of them."""

import os

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read when mlflow is first imported, whoever does that
