"""`python -m infra.grafana > infra/grafana/fleet.json`"""

from infra.grafana.board import fleet_json

if __name__ == "__main__":
    print(fleet_json(), end="")
