"""The same measurements on other people's libraries; they are installed for benchmarks only."""
