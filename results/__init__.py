"""What tfsparse found: the table of networks, and the commands that make it, check it and show it beside others'."""
