"""The one way in which user-caused errors reach the user: a sentence with the way out, and exit code 2."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable

FULL = (errno.ENOSPC, errno.EDQUOT)


class UserError(Exception):
    """Something the user can mend. The message is one clear sentence that says what is wrong and the way out."""


def run_cli(main: Callable[[], int | None]) -> None:
    """Run a command's `main` and exit the process with its code; a `UserError` becomes one line on stderr and code 2.

    Ctrl-C ends with 130, as shells expect; a reader that closed our output (`| head`) ends quietly with 141. A full
    disk is the user's to mend, wherever it is met.
    """
    try:
        code = main() or 0
        sys.stdout.flush()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        print("stopped by Ctrl-C", file=sys.stderr)
        code = 130
    except BrokenPipeError:
        # Python would complain again when it flushes stdout at exit.
        sys.stdout = None
        code = 141
    except OSError as error:
        if error.errno not in FULL:
            raise
        print(
            f"error: no space is left for {error.filename or 'what is written'}; make room on its disk", file=sys.stderr
        )
        code = 2
    sys.exit(code)
