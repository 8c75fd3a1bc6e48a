"""`python -m moderation`: the `palisade` command."""

from moderation.cli import main

main()
