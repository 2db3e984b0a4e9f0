"""Videos at addresses outside any bucket."""
