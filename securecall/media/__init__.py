"""Sound, from microphone or file to packets and back."""
