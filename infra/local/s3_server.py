"""moto's server, which looks once which services it has: `python -m infra.local.s3_server`.

Of itself it lists the folders of all of them twice for each request, a seventh of its work.
"""

from moto import backends
from moto.server import main

if __name__ == "__main__":
    services = list(backends.list_of_moto_modules())
    backends.list_of_moto_modules = lambda: services
    main()
