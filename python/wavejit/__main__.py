"""`python -m wavejit` is `wavejit`."""

import sys

from wavejit.cli import main

sys.exit(main())
