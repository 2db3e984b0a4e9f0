"""`python -m shared.telemetry > docs/metrics.md`"""

from shared.telemetry.page import metrics_markdown

if __name__ == "__main__":
    print(metrics_markdown(), end="")
