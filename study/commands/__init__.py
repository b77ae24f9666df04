"""What each command does, one file a command group; cli.py declares them."""
