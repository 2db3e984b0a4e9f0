"""`python -m infra.prometheus | kubectl apply --namespace monitoring -f -`"""

from infra.prometheus.operator import manifests

if __name__ == "__main__":
    print(manifests(), end="")
