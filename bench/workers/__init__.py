"""One module for each contender, run as a process of its own by that contender's own python."""
