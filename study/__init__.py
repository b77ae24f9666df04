"""Which trials run, where and when, and what is kept of them."""
