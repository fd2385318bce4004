"""A test kit for applications: networks, clocks and peers that do what a test says."""
