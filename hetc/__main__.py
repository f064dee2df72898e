"""`python -m hetc` is the command `hetc`."""

from hetc.cli.main import main

main()
