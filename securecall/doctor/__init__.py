"""What keeps an account from working, looked for step by step and told with its remedy."""
