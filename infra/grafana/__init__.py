"""The dashboard: `panels` says what is on it, `board` makes Grafana's JSON of that.

`python -m infra.grafana > infra/grafana/fleet.json` writes it; a test keeps it true. `picture`
draws it without Grafana.
"""
