"""The demo: videos that we make ourselves, and a real, tiny model that was trained on them."""
