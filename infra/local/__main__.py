"""`python -m infra.local [NAME ...]`: the stack, until Ctrl-C; with names, only those processes."""

import sys

from infra.local.signals import stop_in_order
from infra.local.stack import PROCESSES, LocalStack
from shared.errors import JamakError


def main() -> None:
    stop_in_order()
    try:
        with LocalStack(sys.argv[1:] or PROCESSES) as stack:
            print(stack.exports(), flush=True)
            print(f"It runs, with logs in {stack.directory}. Ctrl-C stops it.", file=sys.stderr)
            stack.wait()
    except JamakError as error:
        sys.exit(f"{error}\n{error.cure}".strip())


if __name__ == "__main__":
    main()
