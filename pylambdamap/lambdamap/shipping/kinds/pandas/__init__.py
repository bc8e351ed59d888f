"""pandas: `values`, each on its own, and frames of a list, which share their columns (`lists`)."""
